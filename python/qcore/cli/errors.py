"""How the command line says that something is wrong: one line, and a status.

Status 2 where the call was wrong, 1 where it failed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.exceptions import NoArgsIsHelpError

__all__ = ["errors_in_one_line", "one_line"]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what a command raises into an error that click shows as one line."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "qcore"
        line = f"{' '.join(error.format_message().split()).rstrip('.')}; see {command} --help"
        raise click.UsageError(line) from error
    except MemoryError as error:
        raise click.ClickException(one_line(error) or "there is not enough memory") from error
    except (ImportError, OSError, ValueError, TypeError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EPIPE:
            raise  # the reader of a pipe left: click ends quietly
        raise click.ClickException(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Return what an exception says, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        named = f": '{error.filename}'" if error.filename is not None else ""
        return error.strerror + named
    return " ".join(str(error).split())
