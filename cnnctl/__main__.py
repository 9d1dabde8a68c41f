"""Lets `python -m cnnctl` do what the command `cnnctl` does."""

from cnnctl.cli import command

if __name__ == "__main__":
    command()
