"""scikit-learn's manners, without scikit-learn: parameters that can be read, set and cloned."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["Estimator", "NotFittedError"]


class NotFittedError(ValueError, AttributeError):
    """An estimator was used before `fit`; of the same bases as scikit-learn's."""


class Estimator:
    """Base of what has ``fit``: the constructor stores its arguments and does nothing else.

    What `fit` learns goes into attributes whose names end in ``_``.
    """

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Any:
        """Set constructor arguments by name; returns the estimator.

        Raises
        ------
        ValueError
            If a name is not one of the constructor's.
        """
        known = self._parameters()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name} is not a parameter of {type(self).__name__}: {known}")
            setattr(self, name, value)
        return self

    def _check_fitted(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            raise NotFittedError(f"this {type(self).__name__} is not fitted: call fit first")

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
