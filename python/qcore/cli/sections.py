"""A command whose options stand under headings in its help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

__all__ = ["SectionedCommand"]


class SectionedCommand(click.Command):
    """A command with many options.

    Parameters
    ----------
    sections : mapping of str to str
        The name of the first option under each heading, and the heading.
    """

    def __init__(self, *args: Any, sections: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        heading = "Options"
        records: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = self.sections.get(param.name or "", heading)
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                records.setdefault(heading, []).append(record)
        for title, rows in records.items():
            with formatter.section(title):
                formatter.write_dl(rows)
