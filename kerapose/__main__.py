"""`python -m kerapose ...`: the program `kerapose`, where its script is not on the path."""

from kerapose.commands import main

if __name__ == "__main__":
    main()
