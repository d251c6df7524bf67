"""Names as directories are listed by them: each one possible as a name, and no two the same."""

from __future__ import annotations

from collections.abc import Iterable

from haulback.filesystems.records import MOST_NAME

_HERE, _UP = b".", b".."
_ROOM = 16  # bytes that a number behind a name takes at most


def is_dots(name: bytes) -> bool:
    """Whether a name means the directory itself, or the one above it."""
    return name in (_HERE, _UP)


def possible(name: bytes) -> bytes:
    r"""A name that a path can hold: NUL and / are written \x00 and \x2f, no name at all \x."""
    if b"/" in name or b"\0" in name:
        name = name.replace(b"\0", rb"\x00").replace(b"/", rb"\x2f")
    return name or rb"\x"


def unlike_dots(name: bytes) -> bytes:
    r"""The same for a file system whose . and .. are no entries: a file called so is \x2e."""
    return name.replace(b".", rb"\x2e") if is_dots(name) else possible(name)


def distinct(found: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Nodes by name, sorted; the second node of a name gets ~2 behind it, the next ~3.

    A number that makes a name of another entry is left out.
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
