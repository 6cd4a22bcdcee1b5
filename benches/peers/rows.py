"""What a comparison says: times, and the ratio that was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes
    ----------
    section, case : str
    times : dict of str to float
        Best seconds of each contender.
    ratio : float
        What is judged, the greater the better; `asked` is the least it should be.
    asked : float or None
    work : float
        Operations or bytes of a call; 0: the table shows times.
    unit : str
        Of a rate: billions of what a second.
    note : str
    """

    section: str
    case: str
    times: dict[str, float]
    ratio: float
    asked: float | None = None
    work: float = 0.0
    unit: str = "GOPS"
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the ratio is what was asked for."""
        return self.asked is None or self.ratio >= self.asked
