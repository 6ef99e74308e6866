"""The command that serves batches: what it refuses, before TensorFlow is there, and how it ends."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from kerapose import commands


@pytest.fixture
def taken():
    """A port at which something listens."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free():
    """A port at which nothing does."""
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    return port


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        commands.main(["data-service", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err.strip()


def test_a_port_must_be_free(taken, capsys):
    said = refusal(capsys, "--role=dispatcher", f"--port={taken}")
    assert said.startswith(f"kerapose data-service: --port must be free, {taken} is not (")
    assert said.endswith("; give another, or 0.")


def test_a_worker_needs_a_dispatcher_that_is_there(free, capsys):
    said = refusal(capsys, "--role=worker", f"--dispatcher=localhost:{free}")
    assert said.startswith(f"kerapose data-service: --dispatcher must be where one listens, localhost:{free} is not (")
    assert said.endswith("; start it first.")
    assert "got None for a worker; say where the dispatcher is." in refusal(capsys, "--role=worker")
    assert "must be HOST:PORT, got grpc://a:1; correct it." in refusal(
        capsys, "--role=worker", "--dispatcher=grpc://a:1"
    )


def test_options_belong_to_a_role(capsys):
    words = "--role=dispatcher", "--dispatcher=localhost:1"
    assert "--dispatcher is for a worker, got localhost:1 for a dispatcher; leave it out." in refusal(capsys, *words)
    words = "--role=worker", "--dispatcher=localhost:1", "--workdir=journal"
    assert "--workdir is for the dispatcher, got journal for a worker; leave it out." in refusal(capsys, *words)


def test_a_server_says_where_it_listens_and_ends_when_it_is_told(free, tmp_path):
    words = "--role=dispatcher", f"--port={free}", f"--workdir={tmp_path}"
    command = [sys.executable, "-m", "kerapose", "data-service", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout.readline().strip() == f"dispatcher listens at grpc://localhost:{free}"
        assert os.listdir(tmp_path)  # its journal
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
