"""Names in listings: every name is valid in a path, and unique in its directory."""

from __future__ import annotations

from collections.abc import Iterable

from haulback.filesystems.records import MOST_NAME

_HERE, _UP = b".", b".."
_ROOM = 16  # bytes reserved for the number after a name


def is_dots(name: bytes) -> bool:
    """Whether a name is . or .. (the directory itself, or its parent)."""
    return name in (_HERE, _UP)


def possible(name: bytes) -> bytes:
    r"""A name that is valid in a path: NUL and / become \x00 and \x2f, an empty name \x."""
    if b"/" in name or b"\0" in name:
        name = name.replace(b"\0", rb"\x00").replace(b"/", rb"\x2f")
    return name or rb"\x"


def unlike_dots(name: bytes) -> bytes:
    r"""Like `possible`, and names . and .. are escaped, for file systems without such entries."""
    return name.replace(b".", rb"\x2e") if is_dots(name) else possible(name)


def distinct(result: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Nodes by name, sorted; the second node of a name gets the suffix ~2, the next ~3.

    A number is skipped if another entry has that name.
    """
    names: dict[bytes, int] = {}
    later: list[tuple[bytes, int]] = []
    for name, node in result:
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
