"""The ``qcore`` command, also as ``python -m qcore``.

Nothing is imported here but what makes Ctrl-C quiet: the rest is imported under that.
"""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback, even while it starts or ends."""
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup
    if own:
        signal.signal(signal.SIGINT, _leave)
    from qcore.cli import main as command

    if own:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the command has its own way
    try:
        command(prog_name="qcore")
    finally:
        if own:
            signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: object) -> None:
    """End the process with click's word and status for Ctrl-C."""
    os.write(2, b"Aborted!\n")
    os._exit(1)


if __name__ == "__main__":
    main()
