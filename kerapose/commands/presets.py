"""Lists the published checkpoints by task, with their figures as published.

    kerapose presets --task="bottom-up pose"

Each name is a --model of `kerapose predict` where it finds people, a --lifter where it lifts them, and in Python
`predictors.load(name)` and `models.CLASS.from_preset(name)`.
"""

import argparse

from kerapose import presets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--task", choices=presets.TASKS, help="those for it alone")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    tasks = presets.TASKS if arguments.task is None else [arguments.task]
    listed = {task: [presets.get(name) for name in presets.names(task)] for task in tasks}
    width = max(len(preset.name) for known in listed.values() for preset in known)
    for task, known in listed.items():
        print(task)
        for preset in known:
            told = ", ".join(filter(None, [preset.publisher.name, preset.data, preset.figures]))
            print(f"  {preset.name:{width}}  {told}")
