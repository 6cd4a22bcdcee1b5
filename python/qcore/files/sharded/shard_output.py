"""Writing a checkpoint as several safetensors files with their index."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from qcore import _core
from qcore.errors import FormatError
from qcore.files.drafts import write_text
from qcore.files.sharded.shards import INDEX_SUFFIX, shard_paths

__all__ = ["SHARD_BYTES", "files_nbytes", "group_by_size", "is_index", "write_shards"]

#: The most that the tensors of a file weigh, unless it has but one.
SHARD_BYTES = 5_000_000_000
# What follows the stem in the names of files of ours; the group is the version.
_VERSION = r"(?:-v([0-9]+))?-[0-9]{5}-of-[0-9]{5}\.safetensors"


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
    """Write groups of tensors into files beside an index, then the index, which is the switch.

    Files are written in a folder of their own. Where an index is there already, the new files take
    names of another version: until the new index is in its place, in one step, the old one and the
    files that it names stay as they are; then those go. Whenever a process is killed, readers by
    the index find the old checkpoint or the new one, and what was left is removed at the next save.

    Parameters
    ----------
    index : Path
        ``NAME.safetensors.index.json``; files are ``NAME-00001-of-00003.safetensors`` and so on,
        or ``NAME-v2-00001-of-00003.safetensors`` in place of older ones.
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
    old = _named(index)
    version = _next_version(stem, old)
    names = [
        f"{stem}{version}-{number:05}-of-{len(groups):05}.safetensors"
        for number in range(1, len(groups) + 1)
    ]
    taken = {path.resolve() for path in sources}
    for name in [*names, *old]:
        if index.with_name(name).resolve() in taken:
            raise ValueError(f"output would replace '{index.with_name(name)}', which is read from")
    folder = _core.DraftFolder(index.parent)
    try:
        places: dict[str, str] = {}
        total = 0
        for name, group in zip(names, groups, strict=True):
            path = Path(folder.path) / name
            write(path, group)
            file = _core.TensorFile(path)
            places |= dict.fromkeys(file.names(), name)
            total += sum(file.info(stored)[2] for stored in file.names())
        for name in names:
            (Path(folder.path) / name).replace(index.with_name(name))
    finally:
        folder.close()
    text = {"metadata": {"total_size": total}, "weight_map": places}
    write_text(index, json.dumps(text, indent=2) + "\n")
    _remove_left(index.parent, stem, old, names)


def _named(index: Path) -> list[str]:
    """Return the files that an index names; none where there is none that can be read."""
    try:
        return [path.name for path in shard_paths(index) or ()]
    except (FormatError, OSError):
        return []


def _next_version(stem: str, old: list[str]) -> str:
    """Return what follows the stem in names that no file of the old index has."""
    if not old:
        return ""
    found = [match for name in old if (match := re.match(re.escape(stem) + _VERSION, name))]
    return f"-v{max((int(match[1] or 1) for match in found), default=1) + 1}"


def _remove_left(folder: Path, stem: str, old: list[str], new: list[str]) -> None:
    """Remove the files of the old index, and of versions that no index came to name."""
    left = set(old)
    for path in folder.glob(f"{glob.escape(stem)}-v*.safetensors"):
        match = re.fullmatch(re.escape(stem) + _VERSION, path.name)
        if match and match[1]:
            left.add(path.name)
    for name in left.difference(new):
        if re.fullmatch(re.escape(stem) + _VERSION, name):  # what others named stays theirs
            (folder / name).unlink(missing_ok=True)
