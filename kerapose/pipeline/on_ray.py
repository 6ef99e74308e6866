"""Work on many videos at once, through Ray Data: actors of this machine or of a cluster, each with its own network."""

import dataclasses
import logging
import os
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

from kerapose.types import Path

RETRIES = 2  # of a video whose process died, by chance or by what is in the video


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
        >>> from kerapose.pipeline import on_ray
        >>> on_ray.Engine(workers=4, actors_per_gpu=2)  # for extraction.extract(..., engine=...)
        Engine(workers=4, ray_address=None, actors_per_gpu=2)
    """

    workers: int = 1
    ray_address: Path | None = None
    actors_per_gpu: int | None = None

    def __post_init__(self) -> None:
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

    A video whose process or machine died is given to another one, `RETRIES` times; then there is no answer.

    Args:
        given: what to work on, one a call.
        kind: a class whose instances are called; it and its arguments are sent to the processes.
        arguments: of its constructor.
        engine: the processes.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if there are not as many processors or GPUs as wished for, or the constructor fails.
        OSError: if there is no cluster at the address.

    Example:
        >>> from kerapose.pipeline import on_ray
        >>> for answer in on_ray.answers(videos, Extractor, (make, {}), on_ray.Engine(workers=2)):  # doctest: +SKIP
        ...     print(answer["name"])
    """
    ray, is_ours = _started(engine)
    try:
        check_room(ray.cluster_resources(), engine)  # refuses before anything is begun
        waiting = {video["name"]: dict(video) for video in given}
        for left in reversed(range(1 + RETRIES)):
            try:
                for answer in _results(ray, list(waiting.values()), kind, arguments, engine):
                    if answer["fatal"]:
                        raise ValueError(f"A worker must be able to load the model, got {answer['fatal']}")
                    del waiting[answer["name"]]
                    yield answer
            except ray.exceptions.RayError as error:  # a machine may be gone and still be counted on for a while
                if not left:
                    told = str(error).strip().split("\n")[0]
                    raise ValueError(f"Workers must stay alive, got {type(error).__name__}: {told}") from error
            if not waiting:
                break
    finally:
        if is_ours:
            ray.shutdown()


def _started(engine):
    """Ray, and whether it was started here; it keeps quiet."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unasked
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("Several workers need Ray Data; pip install 'kerapose[extract]', or take none.") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is lost is tried again, and told at the end
    if ray.is_initialized():
        return ray, False
    own = {"address": "local", "include_dashboard": False}  # without it, Ray takes a cluster that it finds
    where = own if engine.ray_address is None else {"address": str(engine.ray_address)}
    ray.init(log_to_driver=False, logging_level="error", **where)
    return ray, True


def _results(ray, given, kind, arguments, engine):
    """The answers to videos but those that were lost: each is a block of its own, which no other one is lost with."""
    there = ray.cluster_resources()
    per_gpu = _per_gpu(there, engine)
    workers = min(engine.workers, len(given), max(1, _room(there, per_gpu)))  # machines may have gone
    threads = max(1, int(there.get("CPU", 1) // workers))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # one that is lost costs itself alone
    context.max_consecutive_actor_init_deaths = RETRIES
    context.execution_no_progress_timeout_s = -1  # a video takes as long as it takes
    rows = ray.data.from_items(given, override_num_blocks=len(given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these names of `max_restarts` and `max_task_retries` go with Ray 2.64
        # A video is not tried again by the same actor: where its machine is gone, both would wait for room for ever.
        done = rows.map(
            _Actor,
            fn_constructor_args=(kind, tuple(arguments), threads, per_gpu > 1),
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=0 if per_gpu else 1,
            num_gpus=1 / per_gpu if per_gpu else 0,
            max_restarts=-1,
            max_task_retries=0,
        )
    return done.iter_rows()


def check_room(there: Mapping[str, float], engine: Engine) -> int:
    """How many processes share a GPU, 0 for none; refuses more processes than there is room for.

    Args:
        there: what a cluster has, "CPU" and "GPU".
        engine: what is wished for.

    Raises:
        ValueError: if it is more.

    Example:
        >>> from kerapose.pipeline import on_ray
        >>> on_ray.check_room({"CPU": 16.0, "GPU": 2.0}, on_ray.Engine(workers=4, actors_per_gpu=2))
        2
    """
    if engine.actors_per_gpu and not there.get("GPU"):
        raise ValueError(f"actors_per_gpu must be left out where there is no GPU, got {engine.actors_per_gpu}.")
    per_gpu = _per_gpu(there, engine)
    room = _room(there, per_gpu)
    if engine.workers > room:
        what = f"{int(there['GPU'])} GPUs of {per_gpu} each" if per_gpu else f"{room} processors"
        remedy = "raise actors_per_gpu, or take fewer" if per_gpu else "take fewer"
        raise ValueError(f"workers must find room, got {engine.workers} for {what}; {remedy}.")
    return per_gpu


def _per_gpu(there, engine):
    if not there.get("GPU"):
        return 0
    return 1 if engine.actors_per_gpu is None else engine.actors_per_gpu


def _room(there, per_gpu):
    return int(there.get("GPU", 0)) * per_gpu if per_gpu else int(there.get("CPU", 0))
