"""A data set of clips out of folders of videos: whoever is in each video is found once, and labelled.

    kerapose extract videos --labels=labels.csv --model=runs/openpose/model.keras --output=clips --test_share=0.2

writes `clips/people/<clip>.json`, everybody in a video (as `kerapose predict` does), `clips/annotations.pkl` in the
form of PYSKL and MMAction2, with the splits, `clips/classes.txt` and `clips/report.json`; with --lifter also
`clips/annotations_3d.pkl`, poses in space. From there it goes on in a checkout of kerapose:

    python datasets/build.py pyskl_clips/mine --file=clips/annotations.pkl --class_names=clips/classes.txt \\
        --skeleton=openpose
    python -m train.poseconv3d --dataset=pyskl_clips/mine --validation_split= --workdir=runs/mine

VIDEOS are folders, with all that is below them, globs in quotation marks, single videos, or text files that list
videos, one a line. A clip is called after its video, by the path below the folder, without the ending.

labels.csv has the columns `video` and `label`, and may have `subject` and `split`. `video` is the path below the
folder, with the ending or without, or as much of its end as only one video has. Without --labels the folder that a
video lies in is its label. A video without a label is refused, a label without a video told. Of each clip there are the
--max_people who are seen longest and surest, and move.

A run that was killed is started again by the same command: what is done stays. A video that cannot be read, by its end
too, costs only itself: the last lines name it, as does report.json, and the exit status is 1. Ctrl-C stops at once, and
what is done stays; the exit status is 130. It is 2 where nothing could be done.

--workers=N works on N videos at once, each in a process with its own network (Ray Data: pip install
'kerapose[extract]'), on a GPU each or, with --actors_per_gpu, several on one; --ray_address takes a cluster, whose
machines must see the videos by the same paths. A video whose process dies is worked on by another.
"""

import argparse
import functools
import pathlib

from kerapose import presets
from kerapose.commands import networks
from kerapose.data import frames, labels
from kerapose.data.slots import MAX_PEOPLE
from kerapose.files import digest
from kerapose.pipeline import Pipeline, extraction
from kerapose.pipeline.on_ray import Engine

FOUND_BY = (  # options that decide about what is found
    *("model", "skeleton", "height", "detector", "codec", "lifter", "lifter_skeleton", "pose_skeleton"),
    *("min_score", "raw"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines the arguments of the command."""
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEOS", help="folders, globs, videos, or text files that list videos")
    networks.add_arguments(parser)
    add("--output", default="clips", metavar="FOLDER", help="where the data set goes (default: clips)")
    add("--labels", metavar="CSV", help="video,label and perhaps subject,split (default: folders are labels)")
    add("--class_names", metavar="FILE", help="one a line, in the order of their indices (default: sorted)")
    add("--test_share", type=float, metavar="SHARE", help="of each class for the split test, 0.2 for one")
    add("--test_subjects", metavar="A,B", help="subjects all of whose videos are for the split test")
    add("--max_people", type=int, default=MAX_PEOPLE, help=f"of a clip, the most important ({MAX_PEOPLE})")
    add("--workers", type=int, default=0, help="videos at once, in processes of their own (default: 0, in this one)")
    add("--ray_address", metavar="ADDRESS", help="of a Ray cluster; auto for the one of this machine")
    add("--actors_per_gpu", type=int, metavar="N", help="how many workers share a GPU (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Does what the command line says, prints the paths of the written files, and ends the process with 1 or 2 if not.

    Args:
        arguments: what a parser with `add_arguments` parses.
    """
    end = arguments.parser.exit
    try:
        done = extract(arguments)
    except (ValueError, OSError, ImportError) as error:
        end(2, f"kerapose extract: {error}\n")
    except KeyboardInterrupt:
        end(130, f"kerapose extract: stopped; what is done is in {arguments.output}, the same command goes on.\n")
    for path in done.written:
        print(path)
    if done.failures:
        lines = [f"  {name}: {why}" for name, why in done.failures.items()]
        told = f"{len(done.failures)} of {done.num_videos} videos cannot be read; mend them and run this again, or not:"
        end(1, "\n".join([f"kerapose extract: {told}", *lines, ""]))


def extract(arguments: argparse.Namespace) -> extraction.Extraction:
    """Does what the command line says.

    Args:
        arguments: what a parser with `add_arguments` parses.

    Returns:
        A `pipeline.extraction.Extraction`.

    Raises:
        ValueError, OSError: if a file is not what it has to be, or files and options do not fit together.
        ImportError: if a package is missing.

    Example:
        >>> import argparse, pathlib
        >>> from kerapose.commands import extract
        >>> size = pathlib.Path("labels.csv").write_text("video,label\\nwalk.mp4,walk\\n")
        >>> words = ["walk.mp4", "--labels=labels.csv", "--model=runs/topdown/model.keras", "--output=walks"]
        >>> extract.add_arguments(parser := argparse.ArgumentParser())
        >>> done = extract.extract(parser.parse_args([*words, "--min_score=-1"]))
        >>> [path.name for path in done.written], done.num_videos
        (['annotations.pkl', 'classes.txt', 'report.json'], 1)
    """
    engine = _engine(arguments)
    if arguments.max_people < 1:
        raise ValueError(f"--max_people must be at least 1, got {arguments.max_people}; 2 is usual.")
    videos = frames.named(arguments.videos)
    if arguments.labels is None:
        rows = labels.of_folders(videos)
    else:
        rows = labels.matched(labels.read_labels(arguments.labels), videos, arguments.labels)
    subjects = arguments.test_subjects
    subjects = None if subjects is None else [one.strip() for one in subjects.split(",") if one.strip()]
    return extraction.extract(
        videos,
        rows,
        functools.partial(make_pipeline, _found_by(arguments), arguments.batch),
        arguments.output,
        made_with(arguments),
        labels.split(rows, arguments.test_share, subjects),
        labels.class_names((row.label for row in rows.values()), arguments.class_names),
        arguments.max_people,
        engine,
    )


def make_pipeline(arguments: argparse.Namespace, batch: int = 1) -> Pipeline:
    """The pipeline of a command line, in whichever process; ValueError, OSError as for `extract`."""
    find = networks.make_predictor(arguments)
    lift = networks.make_lifter(arguments, find.skeleton)
    return Pipeline(find, lift, min_score=arguments.min_score, smooth=not arguments.raw, batch=batch)


def made_with(arguments: argparse.Namespace) -> dict[str, object]:
    """What decides about the people that are found: the options that were given, and the content of files."""
    chosen = {name: value for name, value in vars(_found_by(arguments)).items() if value not in (None, False)}
    return chosen | {name: f"{pathlib.Path(chosen[name]).name} {digest(chosen[name])}" for name in _files(chosen)}


def _found_by(arguments):
    """These options alone, files by their whole paths, as another process is to read them."""
    chosen = {name: getattr(arguments, name) for name in FOUND_BY}
    return argparse.Namespace(**chosen | {name: str(pathlib.Path(chosen[name]).absolute()) for name in _files(chosen)})


def _files(chosen):
    """The names of those options that are files or folders."""
    for name, value in chosen.items():
        may_be = (name in ("model", "lifter") and value and not presets.is_name(value)) or str(value).endswith(".json")
        if may_be and pathlib.Path(value).exists():
            yield name


def _engine(arguments):
    if arguments.workers < 0:
        raise ValueError(f"--workers must be at least 0, got {arguments.workers}; 0 works in this process.")
    for name in ("ray_address", "actors_per_gpu"):
        if not arguments.workers and getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for --workers, got it without; leave it out, or give --workers=1.")
    if not arguments.workers:
        return None
    return Engine(arguments.workers, arguments.ray_address, arguments.actors_per_gpu)
