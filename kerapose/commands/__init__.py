"""The program `kerapose`: each command is a module here, with `add_arguments(parser)` and `run(arguments)`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import kerapose

COMMANDS = {
    "predict": "find people in videos, images or before the camera, draw them and write them down",
    "extract": "find people in many videos, and make a data set of clips of them",
    "data-service": "make the batches of trainings on this machine, for trainers on others",
    "presets": "list the published checkpoints that --model takes by name",
}


def main(argv: Sequence[object] | None = None) -> None:
    """Does what the command line says.

    Args:
        argv: the words behind `kerapose`. None: those of the process.

    Raises:
        SystemExit: with the status 1 or 2 if it cannot be done; a line of standard error says why.

    Example:
        >>> from kerapose import commands
        >>> commands.main(["presets", "--task=lifting"])
        lifting
          lifter_h36m_cpn         VideoPose3D, Human3.6M, MPJPE 46.8 mm, P-MPJPE 36.5 mm
          lifter_h36m_coco        VideoPose3D, Human3.6M
          lifter_humaneva15_coco  VideoPose3D, HumanEva-I, MPJPE 28.6 mm
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    parser = argparse.ArgumentParser(
        prog="kerapose", description="Human pose and skeleton-based action recognition in Keras 3."
    )
    parser.add_argument("--version", action="version", version=f"kerapose {kerapose.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        # Only the command that is asked for is imported: the others would bring TensorFlow with them for nothing.
        module = importlib.import_module(f"kerapose.commands.{name.replace('-', '_')}") if name in argv[:1] else None
        command = commands.add_parser(
            name,
            help=purpose,
            description=module and module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is not None:
            module.add_arguments(command)
            command.set_defaults(run=module.run, parser=command)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)
