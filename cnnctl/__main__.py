"""Lets `python -m cnnctl` do what the command `cnnctl` does."""

from cnnctl.cli import run_and_exit

if __name__ == "__main__":
    run_and_exit()
