"""Work on many videos at once, through Ray Data: actors of this machine or of a cluster, each with its own network."""

import dataclasses
import os
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

from kerapose.types import Path

RETRIES = 2  # of a video whose process died: an actor that is killed by chance, or by what is in the video


@dataclasses.dataclass(frozen=True)
class Engine:
    """Processes that find people.

    Args:
        workers: how many, each with a network of its own.
        ray_address: of a Ray cluster whose machines all see the videos by the same paths and have kerapose installed;
            "auto" for the one that this machine belongs to. None: processes of this machine.
        actors_per_gpu: how many processes share a GPU. None: one has a GPU to itself, if there are any; 0: none has.

    Raises:
        ValueError: if a number is not as described.

    Example:
        >>> extraction.extract(videos, rows, make, "clips", {}, engine=Engine(workers=4, actors_per_gpu=2))
    """

    workers: int = 1
    ray_address: Path | None = None
    actors_per_gpu: int | None = None

    def __post_init__(self):
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}; without an engine there are none.")
        if self.actors_per_gpu is not None and self.actors_per_gpu < 0:
            raise ValueError(f"actors_per_gpu must be at least 0, got {self.actors_per_gpu}; 0 takes no GPU.")


class _Actor:
    """Works in a process of its own; what cannot be made there is told as an answer."""

    def __init__(self, kind, arguments, num_threads, shares_gpu):
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(num_threads))  # read at the first operation
        if shares_gpu:
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.work, self.fatal = None, ""
        try:
            self.work = kind(*arguments)
        except Exception as error:
            self.fatal = f"{type(error).__name__}: {error}"

    def __call__(self, video: dict[str, str]) -> dict[str, str]:
        return {"fatal": self.fatal} | (self.work(video) if self.work else {"name": "", "text": "", "error": ""})


def answers(
    given: Sequence[Mapping[str, str]], kind: Callable, arguments: Sequence[typing.Any], engine: Engine
) -> Iterator[dict[str, str]]:
    """Gives the answers of `kind(*arguments)` to each video, in the order in which they are ready.

    A video whose process died is given to another one, `RETRIES` times; then there is no answer.

    Args:
        given: what to work on, one a call.
        kind: a class whose instances are called; it and its arguments are sent to the processes.
        arguments: of its constructor.
        engine: the processes.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if there are not as many processors or GPUs as wished for, or the constructor fails.

    Example:
        >>> for answer in answers(videos, Extractor, (make, {}), Engine(workers=2)):
        ...     print(answer["name"])
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unasked
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("Several workers need Ray Data; pip install 'kerapose[extract]', or take none.") from error
    is_ours = not ray.is_initialized()
    if is_ours:
        where = {"include_dashboard": False} if engine.ray_address is None else {"address": str(engine.ray_address)}
        ray.init(log_to_driver=False, logging_level="error", **where)
    try:
        for answer in _results(ray, given, kind, arguments, engine):
            if answer["fatal"]:
                raise ValueError(f"A worker must be able to load the model, got {answer['fatal']}")
            yield answer
    finally:
        if is_ours:
            ray.shutdown()


def _results(ray, given, kind, arguments, engine):
    there = ray.cluster_resources()
    share = gpu_share(there, engine)
    threads = max(1, int(there.get("CPU", 1) // engine.workers))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # one that is lost for good costs itself alone
    context.execution_no_progress_timeout_s = -1  # a video takes as long as it takes
    rows = ray.data.from_items([dict(video) for video in given], override_num_blocks=len(given))  # each lost alone
    return rows.map(
        _Actor,
        fn_constructor_args=(kind, tuple(arguments), threads, bool(share) and share < 1),
        compute=ray.data.ActorPoolStrategy(size=engine.workers, max_tasks_in_flight_per_actor=1),
        num_cpus=0 if share else 1,
        num_gpus=share,
        max_restarts=-1,
        max_task_retries=RETRIES,
        scheduling_strategy="SPREAD",
    ).iter_rows()


def gpu_share(there: Mapping[str, float], engine: Engine) -> float:
    """Of a GPU for each process, 0 for none; refuses more processes than there is room for."""
    gpus = int(there.get("GPU", 0))
    if engine.actors_per_gpu and not gpus:
        raise ValueError(f"actors_per_gpu must be left out where there is no GPU, got {engine.actors_per_gpu}.")
    per_gpu = 0 if not gpus else 1 if engine.actors_per_gpu is None else engine.actors_per_gpu
    room = gpus * per_gpu if per_gpu else int(there.get("CPU", 0))
    if engine.workers > room:
        what = f"{gpus} GPUs of {per_gpu} each" if per_gpu else f"{room} processors"
        remedy = "raise actors_per_gpu, or take fewer" if per_gpu else "take fewer"
        raise ValueError(f"workers must find room, got {engine.workers} for {what}; {remedy}.")
    return 1 / per_gpu if per_gpu else 0
