"""Writing a checkpoint as several safetensors files with their index."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from qcore import _core
from qcore.files.drafts import write_text
from qcore.files.sharded.shards import INDEX_SUFFIX, shard_paths

__all__ = ["SHARD_BYTES", "files_nbytes", "group_by_size", "is_index", "write_shards"]

#: The most that the tensors of a file weigh, unless it has but one.
SHARD_BYTES = 5_000_000_000


def is_index(path: Path) -> bool:
    """Whether a path is that of an index file."""
    return path.name.endswith(INDEX_SUFFIX)


def files_nbytes(path: Path) -> int:
    """Return what a file weighs, with an index all files that it names."""
    if not is_index(path):
        return path.stat().st_size
    return sum(file.stat().st_size for file in [path, *(shard_paths(path) or ())])


def group_by_size(sizes: Iterable[tuple[str, int]], most: int) -> list[list[str]]:
    """Split names, in their order, into groups of at most so many bytes; none is empty."""
    groups: list[list[str]] = []
    total = 0
    for name, size in sizes:
        if not groups or total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(name)
        total += size
    return groups or [[]]


def write_shards(
    index: Path,
    groups: list[list[str]],
    write: Callable[[Path, list[str]], None],
    sources: Iterable[Path] = (),
) -> None:
    """Write groups of tensors into files beside an index, then the index.

    Files are written in a folder of their own and take their places when all of them are complete.

    Parameters
    ----------
    index : Path
        ``NAME.safetensors.index.json``; files are ``NAME-00001-of-00003.safetensors`` and so on.
    groups : list of list of str
        The tensors of each file.
    write : callable
        Writes the tensors of these names into a file.
    sources : iterable of Path
        Files that are read meanwhile: none of them may be replaced.

    Raises
    ------
    ValueError
        If a file would take the place of a source.
    """
    stem = index.name.removesuffix(INDEX_SUFFIX)
    names = [
        f"{stem}-{number:05}-of-{len(groups):05}.safetensors"
        for number in range(1, len(groups) + 1)
    ]
    taken = {path.resolve() for path in sources}
    for name in names:
        if index.with_name(name).resolve() in taken:
            raise ValueError(f"output would replace '{index.with_name(name)}', which is read from")
    with tempfile.TemporaryDirectory(prefix=".qcore-", dir=index.parent) as folder:
        places: dict[str, str] = {}
        total = 0
        for name, group in zip(names, groups, strict=True):
            path = Path(folder) / name
            write(path, group)
            file = _core.TensorFile(path)
            places |= dict.fromkeys(file.names(), name)
            total += sum(file.info(stored)[2] for stored in file.names())
        for name in names:
            (Path(folder) / name).replace(index.with_name(name))
    text = {"metadata": {"total_size": total}, "weight_map": places}
    write_text(index, json.dumps(text, indent=2) + "\n")
