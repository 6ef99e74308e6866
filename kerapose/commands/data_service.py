"""A tf.data service: machines that make the batches of trainings on others, which then only train.

First on one machine the dispatcher, and then as many workers as there are machines to help, under Linux:

    kerapose data-service --role=dispatcher --port=5050 --workdir=journal
    kerapose data-service --role=worker --dispatcher=10.0.0.7:5050 --host=10.0.0.8

and a training of kerapose anywhere, with --data_service=grpc://10.0.0.7:5050. Its batches are those that it would make
itself, in the same order, whichever workers come and go meanwhile. Workers read data sets by the paths that the trainer
has, and must have its version of TensorFlow. Ctrl-C or SIGTERM ends a server.

Who can reach the ports can have anything computed here: open them to machines that are trusted alone.
"""

import argparse
import signal
import socket
import threading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines the arguments of the command."""
    add = parser.add_argument
    add("--role", required=True, choices=["dispatcher", "worker"], help="which server this is")
    add("--port", type=int, default=0, help="to listen on (default: any that is free)")
    add("--dispatcher", metavar="HOST:PORT", help="worker: where the dispatcher is")
    add("--host", default="localhost", help="worker: name by which trainers find this machine (default: localhost)")
    add("--workdir", metavar="FOLDER", help="dispatcher: journal from which it goes on when it is started again")


def run(arguments: argparse.Namespace) -> None:
    """Serves until Ctrl-C or SIGTERM; ends the process with 2 where that cannot be done.

    Args:
        arguments: what a parser with `add_arguments` parses.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = start(arguments)
    except (ValueError, OSError) as error:
        arguments.parser.exit(2, f"kerapose data-service: {error}\n")
    while not stop.wait(1.0):  # a wait without end would not let signals through
        pass
    del server


def start(arguments: argparse.Namespace) -> object:
    """Starts the server, and prints where it listens.

    Args:
        arguments: what a parser with `add_arguments` parses.

    Returns:
        A server of `tf.data.experimental.service`, which serves as long as it is there.

    Raises:
        ValueError: if options do not go together.
        OSError: if the port is taken, or no dispatcher is there.

    Example:
        >>> import argparse
        >>> from kerapose.commands import data_service
        >>> data_service.add_arguments(parser := argparse.ArgumentParser())
        >>> server = data_service.start(parser.parse_args(["--role=dispatcher", "--port=0"]))  # any free port
        dispatcher listens at grpc://localhost:...
    """
    is_worker = arguments.role == "worker"
    if is_worker != (arguments.dispatcher is not None):
        remedy = "say where the dispatcher is" if is_worker else "leave it out"
        raise ValueError(f"--dispatcher is for a worker, got {arguments.dispatcher} for a {arguments.role}; {remedy}.")
    if is_worker and arguments.workdir is not None:
        raise ValueError(f"--workdir is for the dispatcher, got {arguments.workdir} for a worker; leave it out.")
    port = _free(arguments.port)
    if is_worker:
        _reach(arguments.dispatcher)

    from kerapose.data import service  # seconds for TensorFlow, which no mistake above should cost

    if is_worker:
        server = service.start_worker(arguments.dispatcher, arguments.host, port)
        print(f"worker listens at {arguments.host}:{port}, for the dispatcher at {arguments.dispatcher}", flush=True)
    else:
        server = service.start_dispatcher(port, arguments.workdir)
        print(f"dispatcher listens at {server.target}", flush=True)
    return server


def _free(port):
    """The port, or one that is free where it is 0."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except (OSError, OverflowError) as error:
            raise OSError(f"--port must be free, {port} is not ({error}); give another, or 0.") from error
        return listener.getsockname()[1]


def _reach(address):
    """Refuses a dispatcher that is not there."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError(f"--dispatcher must be HOST:PORT, got {address}; correct it.")
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except OSError as error:
        raise OSError(f"--dispatcher must be where one listens, {address} is not ({error}); start it first.") from error
