"""What qcore keeps in an ONNX model beside its graph: texts among its ``metadata_props``."""

from __future__ import annotations

from typing import Any

__all__ = ["CLASSES", "RECIPE", "WEIGHT_NAME", "read_text", "write_text"]

#: The labels of a classifier, as JSON.
CLASSES = "qcore.classes"
#: The recipe that made the model, as `Recipe.to_toml` gives it.
RECIPE = "qcore.recipe"
#: Before a weight's own name, in the ``doc_string`` of its codes, where no node's output has it.
WEIGHT_NAME = "qcore.weight="


def read_text(model: Any, key: str) -> str | None:
    """Return a text of a model, if it has it."""
    return next((str(prop.value) for prop in model.metadata_props if prop.key == key), None)


def write_text(model: Any, key: str, text: str) -> None:
    """Put a text into a model, in place of an older one."""
    for prop in model.metadata_props:
        if prop.key == key:
            prop.value = text
            return
    model.metadata_props.add(key=key, value=text)
