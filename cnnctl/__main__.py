"""The command `cnnctl`, and `python -m cnnctl`."""

import signal


def main() -> None:
    """Run the command line as the whole process.

    Ctrl-C while the command is imported, and after it has ended, ends the process without a traceback: Python's own handler
    would raise KeyboardInterrupt where nothing can catch it. In between, `Interruption` handles it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as by nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cnnctl.cli import run_and_exit

    run_and_exit()


if __name__ == "__main__":
    main()
