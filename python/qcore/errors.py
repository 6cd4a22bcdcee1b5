"""The exceptions that NumPy's ecosystem has no name for."""


class FormatError(ValueError):
    """A file that is not what it says it is: truncated, corrupt, or of a newer format."""
