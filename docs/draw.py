"""Draws the pictures of the pages and of README.md.

    python docs/draw.py                   # all that can be drawn; it says which command makes what the others need
    python docs/draw.py codecs spaces     # some

`make pictures` prepares the data sets, trains the networks and draws them all.
"""

import pathlib
import sys
import time

from drawing import concepts, paper

FOLDER = pathlib.Path(__file__).parent / "pictures"
PICTURES = concepts.PICTURES


def main(names):
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        sys.exit(f"There is no picture {unknown[0]}; there are {', '.join(PICTURES)}.")
    missing = 0
    for name in names or PICTURES:
        start = time.monotonic()
        try:
            paper.save(FOLDER / f"{name}.png", PICTURES[name]())
        except paper.MissingError as error:
            print(f"{name}: not drawn; first {error}")
            missing += 1
            continue
        print(f"{name}: {(FOLDER / f'{name}.png').stat().st_size / 1000:.0f} kB, {time.monotonic() - start:.1f} s")
    if names and missing:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
