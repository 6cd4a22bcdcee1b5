"""The plots of the page on methods; `python -m docs.plots` draws them again."""
