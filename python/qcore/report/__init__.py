"""Reports: what was done to a model and what it cost, as tables, pages and pictures."""

from qcore._display.table import Report

__all__ = ["Report"]
