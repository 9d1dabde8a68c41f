"""Lets `python -m cnnctl` do what the command `cnnctl` does."""

from cnnctl.cli import main

if __name__ == "__main__":
    main()
