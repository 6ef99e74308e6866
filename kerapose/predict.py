"""`python -m kerapose.predict ...` as it was called before 0.2: now `kerapose predict ...`."""

import sys

from kerapose.commands import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
