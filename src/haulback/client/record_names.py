"""Names of records: guids, their first six characters or more, names, and the newest record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from haulback.errors import Malformed, NotFound
from haulback.ids import LEAST, is_beginning

T = TypeVar("T")
_LATEST = "latest"
_LISTED = 8  # candidates that an error lists


def latest_of(word: str) -> str | None:
    """The name after `latest:`, "" for `latest` alone, and None for any other word."""
    first, sign, name = word.partition(":")
    if first != _LATEST or (sign and not name):
        return None
    return name


def chosen(rows: Iterable[T], word: str, noun: str, name: Callable[[T], str], more: str = "") -> T:
    """The record among `rows` with this name, or whose guid begins with this word.

    Raises NotFound, or Malformed with the candidates if several records fit; `more` describes
    another way to choose.
    """
    begins = is_beginning(word)

    def fits(row: T) -> bool:
        guid = str(getattr(row, "guid", ""))
        return name(row) == word or (begins and guid.startswith(word.lower()))

    matches = list(islice(filter(fits, rows), _LISTED + 1))
    if not matches:
        hint = f"; a guid needs {LEAST} characters or more" if _is_short(word) else ""
        raise NotFound(f"there is no {noun} {word!r}{hint}")
    if len(matches) > 1:
        shown = [f"{getattr(row, 'guid', '')} ({name(row)})" for row in matches[:_LISTED]]
        rest = " and more" if len(matches) > _LISTED else ""
        raise Malformed(
            f"there are several {noun}s named {word!r}; use more of a guid{more}: "
            f"{', '.join(shown)}{rest}"
        )
    return matches[0]


def _is_short(word: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{1,{LEAST - 1}}}", word.lower()) is not None
