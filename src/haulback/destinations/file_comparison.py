"""Comparison of a stored object with a local file by ranges, which needs little memory."""

from __future__ import annotations

from pathlib import Path

from haulback.destinations.protocol import ObjectStore

_BLOCK = 4 << 20  # bytes of one read


def holds(destination: ObjectStore, name: str, path: Path) -> bool:
    """Whether the object of that name has the content of a file.

    Raises NotFound for a missing object, OSError for a file that cannot be read.
    """
    size = path.stat().st_size
    if destination.info(name).size != size:
        return False
    with open(path, "rb") as file:
        for at in range(0, size, _BLOCK):
            block = file.read(_BLOCK)
            if destination.load(name, at, len(block)) != block:
                return False
    return True
