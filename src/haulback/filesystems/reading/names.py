"""Names of listings: each name fits into a path, and no two entries share a name."""

from __future__ import annotations

from collections.abc import Iterable

from haulback.filesystems.records import MOST_NAME

_HERE, _UP = b".", b".."
_ROOM = 16  # bytes for the number behind a name


def is_dots(name: bytes) -> bool:
    """Whether a name is . or .. (the directory itself, or its parent)."""
    return name in (_HERE, _UP)


def possible(name: bytes) -> bytes:
    r"""A name that fits into a path: NUL and / become \x00 and \x2f, an empty name \x."""
    if b"/" in name or b"\0" in name:
        name = name.replace(b"\0", rb"\x00").replace(b"/", rb"\x2f")
    return name or rb"\x"


def unlike_dots(name: bytes) -> bytes:
    r"""The same, and . and .. are escaped, for file systems that list neither of the two."""
    return name.replace(b".", rb"\x2e") if is_dots(name) else possible(name)


def distinct(found: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Nodes by name, sorted; the second node of a name gets ~2 behind it, the next ~3.

    A number is left out if another entry has that name.
    """
    names: dict[bytes, int] = {}
    later: list[tuple[bytes, int]] = []
    for name, node in found:
        if name in names:
            later.append((name, node))
        else:
            names[name] = node
    last: dict[bytes, int] = {}
    for name, node in later:
        number = last.get(name, 1) + 1
        while (made := name[: MOST_NAME - _ROOM] + b"~%d" % number) in names:
            number += 1
        last[name], names[made] = number, node
    return dict(sorted(names.items()))
