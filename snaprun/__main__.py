"""`python -m snaprun` is the console script `snaprun`."""

from snaprun.cli import main

if __name__ == "__main__":
    main()
