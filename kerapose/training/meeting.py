"""How workers on several machines find each other before they train, and find out what differs between them.

Before TensorFlow starts its own servers, the first worker listens at its address, the others call it there and say what
they are about to do. So a host that is not there, a port that is taken, another version or another option is a sentence
within seconds, where TensorFlow would wait without a word or take part in another training.
"""

import collections.abc
import contextlib
import json
import os
import platform
import socket
import time
import typing

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import kerapose
from kerapose.training.workers import Told, carry_out, difference

PATIENCE_S = 600.0  # for the other workers to come
NEWS_S = 10.0  # between two lines about those who are missing
RETRY_S = 0.25
LONGEST_CALL_S = 10.0  # until a host that is there has answered
EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
LONGEST = 1 << 24  # bytes of what a worker says


def addresses(
    hosts: collections.abc.Sequence[str] | None, index: int | None
) -> tuple[list[str], int, dict[str, typing.Any]]:
    """Who trains together, of the options or of TF_CONFIG, which is left as TensorFlow documents it.

    Args:
        hosts: "HOST:PORT" of each worker; the first one is the chief. None or empty: as TF_CONFIG says.
        index: which of them this process is. None likewise.

    Returns:
        The addresses, the index among them, and what TF_CONFIG is to be.

    Raises:
        ValueError: if they are not given, given twice and differently, or wrong.

    Example:
        >>> addresses(["10.0.0.1:2222", "10.0.0.2:2222"], 1)[:2]
        (['10.0.0.1:2222', '10.0.0.2:2222'], 1)
    """
    told = os.environ.get("TF_CONFIG")
    if not hosts and index is None:
        if not told:
            raise ValueError(
                "multi_worker needs to know the workers, got neither worker_hosts nor TF_CONFIG; give "
                "worker_hosts=HOST:PORT,HOST:PORT and worker_index."
            )
        hosts, index, config = _of_environment(told)
    elif not hosts or index is None:
        given = "worker_index" if not hosts else "worker_hosts"
        raise ValueError(f"worker_hosts and worker_index go together, got {given} alone; give both, or TF_CONFIG.")
    else:
        hosts = list(hosts)
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        if told and _of_environment(told)[:2] != (hosts, index):
            raise ValueError(
                "The workers are given once, got worker_hosts and another TF_CONFIG; leave out one of them."
            )
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"An address of a worker is HOST:PORT, got {host!r}; correct it.")
    if len(set(hosts)) < len(hosts):
        raise ValueError(f"Each worker has an address of its own, got {', '.join(hosts)}; correct them.")
    if not 0 <= index < len(hosts):
        raise ValueError(
            f"worker_index is from 0 to {len(hosts) - 1} for {len(hosts)} workers, got {index}; correct it."
        )
    return hosts, index, config


def _of_environment(told):
    try:
        config = json.loads(told)
        cluster, task = config["cluster"], config["task"]
        hosts = [*cluster.get("chief", []), *cluster.get("worker", [])]
        kind, index = task["type"], int(task["index"])
        index += len(cluster.get("chief", [])) if kind == "worker" else 0
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"TF_CONFIG is JSON like {EXAMPLE}, got {told!r}; correct it.") from error
    if kind not in ("chief", "worker"):
        raise ValueError(f"A training has a chief and workers, got the task {kind!r} in TF_CONFIG; leave it out.")
    return hosts, index, config


def versions() -> Told:
    """What has to be alike on all machines."""
    return {
        "kerapose": kerapose.__version__,
        "Python": platform.python_version(),
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
    }


def meet(hosts: list[str], index: int, told: Told, patience_s: float = PATIENCE_S) -> None:
    """Waits until all workers are there, and refuses to go on where they do not say the same.

    Args:
        hosts: "HOST:PORT" of each.
        index: of this one.
        told: what must be alike, for JSON.
        patience_s: seconds to wait.

    Raises:
        ValueError: on every worker, if something differs, or two have the same index.
        OSError: if the port of this worker is taken.
        TimeoutError: if some do not come, naming them.
    """
    told = json.loads(json.dumps(told)) | {"workers": hosts}
    own = hosts[index].rpartition(":")
    try:
        door = socket.create_server(("", int(own[2])), backlog=len(hosts))
    except OSError as error:
        raise OSError(
            f"The port of worker {index}, {hosts[index]}, must be free, got: {os.strerror(error.errno)}; end what has "
            "it, or give another."
        ) from error
    deadline = time.monotonic() + patience_s
    if index == 0:
        _host(door, hosts, told, deadline, patience_s)
    else:
        door.close()  # it was free; TensorFlow takes it in a moment
        _call(hosts, index, told, deadline, patience_s)


def _host(door, hosts, told, deadline, patience_s):
    """The first worker: hears all others, and gives all one verdict: None, or a kind of error and a sentence."""
    calls, said, verdict, news = {}, {0: told}, None, time.monotonic() + NEWS_S
    with door:
        door.settimeout(RETRY_S)
        while len(said) < len(hosts) and not verdict:
            missing = ", ".join(f"{i} ({hosts[i]})" for i in range(len(hosts)) if i not in said)
            if time.monotonic() > deadline:
                verdict = (
                    "TimeoutError",
                    f"All {len(hosts)} workers must come within {patience_s:.0f} s, got none from {missing}; start the "
                    "same command there, and see whether its host and port can be reached.",
                )
            elif time.monotonic() > news:
                logging.info("Waiting for worker %s.", missing)
                news = time.monotonic() + NEWS_S
            try:
                call, _ = door.accept()
            except TimeoutError:
                continue
            try:
                call.settimeout(LONGEST_CALL_S)
                index, theirs = _hear(call)
            except (OSError, ValueError, TypeError):  # somebody who knocks at ports, or a worker that ended meanwhile
                call.close()
                continue
            former = calls.pop(index, None)
            if former and not _is_there(former):  # it ended, and was started again
                former.close()
                former = None
            if index == 0 or former:
                text = f"Each worker has an index of its own, got two with {index}; correct worker_index of one."
                verdict = "ValueError", text
                calls[len(hosts)] = former  # who hears it, too
            calls[index], said[index] = call, theirs
        verdict = verdict or difference(said)
        for call in filter(None, calls.values()):
            with call, contextlib.suppress(OSError):
                _say(call, verdict)
    carry_out(verdict)


def _call(hosts, index, told, deadline, patience_s):
    """Any other worker: says what it is about to do, and waits for the verdict."""
    host, _, port = hosts[0].rpartition(":")
    news, error = time.monotonic() + NEWS_S, None
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, int(port)), timeout=LONGEST_CALL_S) as call:
                _say(call, [index, told])
                call.settimeout(patience_s + LONGEST_CALL_S)
                verdict = _hear(call)
            break
        except OSError as found:
            error = found
        if time.monotonic() > news:
            logging.info("Waiting for the first worker, %s: %s.", hosts[0], error)
            news = time.monotonic() + NEWS_S
        time.sleep(RETRY_S)
    else:
        raise TimeoutError(
            f"The first worker, {hosts[0]}, must come within {patience_s:.0f} s, got: {error}; start the same command "
            "there, and see whether its host and port can be reached."
        )
    carry_out(verdict)


def _say(call, what):
    message = json.dumps(what).encode()
    call.sendall(len(message).to_bytes(4, "big") + message)


def _hear(call):
    size = int.from_bytes(_exactly(call, 4), "big")
    if size > LONGEST:
        raise ValueError("This is nobody of ours.")
    return json.loads(_exactly(call, size))


def _exactly(call, count):
    found = b""
    while len(found) < count:
        part = call.recv(count - len(found))
        if not part:
            raise ConnectionError("it ended before it had spoken")
        found += part
    return found


def _is_there(call):
    """Whether whoever called still waits."""
    call.setblocking(False)
    try:
        return call.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        call.setblocking(True)
