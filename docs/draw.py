"""Draws the pictures of the pages and of README.md.

    python docs/draw.py                   # all that can be drawn; it says what the others need first
    python docs/draw.py codecs spaces     # some

`make pictures` prepares the data sets, trains the networks and draws them all.
"""

import sys
import time

from drawing import concepts, data_sets, paper, trained

PICTURES = concepts.PICTURES | data_sets.PICTURES | trained.PICTURES


def main(names):
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        sys.exit(f"There is no picture {unknown[0]}; there are {', '.join(PICTURES)}.")
    missing = 0
    for name in names or PICTURES:
        start = time.monotonic()
        try:
            path = paper.save(name, PICTURES[name]())
        except paper.MissingError as error:
            print(f"{name} is not drawn; first {error}")
            missing += 1
            continue
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {time.monotonic() - start:.1f} s", flush=True)
    if names and missing:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
