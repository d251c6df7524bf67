"""Regular expressions for names of machines, matched in a time linear in the length of the name.

The engine is RE2: an expression that takes exponential time elsewhere takes linear time here.  An
expression must match the beginning of a name, as in the vendor's product; `$` ends a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from haulback.errors import Malformed

MOST, LONGEST = 100, 500  # most expressions of a list; longest expression, in characters
_MEMORY = 1 << 20  # bytes that the engine may use for an expression


class NamePatterns:
    """The expressions of a list; a list without expressions matches no name.

    Raises Malformed for an expression that RE2 does not read; `field` names the list.
    """

    def __init__(self, expressions: Sequence[str], field: str = "") -> None:
        if len(expressions) > MOST:
            raise Malformed(f"{field}: give at most {MOST} expressions", field=field)
        for place, text in enumerate(expressions):
            _check(text, f"{field}[{place}]")
        self._patterns = _together(tuple(expressions)) if expressions else ()

    def match(self, name: str) -> bool:
        """Whether a name begins with one of the expressions."""
        if not self._patterns:
            return False
        encoded = name.encode(errors="replace")
        return any(pattern.match(encoded) for pattern in self._patterns)


def _check(text: str, field: str) -> None:
    """Raises Malformed with `field` for a text that is no expression of RE2."""
    if not text or len(text) > LONGEST:
        raise Malformed(f"{field}: give 1 to {LONGEST} characters", field=field)
    if trouble := _trouble(text):
        raise Malformed(
            f"{field}: {text[:60]!r} is not a regular expression of RE2: {trouble}", field=field
        )


@lru_cache(maxsize=1024)
def _trouble(text: str) -> str:
    """The reason why RE2 does not read an expression, "" for one that it reads."""
    try:
        _compiled(text)
    except Malformed as error:
        return error.message
    return ""


@lru_cache(maxsize=256)
def _together(expressions: tuple[str, ...]) -> tuple[Any, ...]:
    """A pattern that matches any of the expressions, or several patterns if one exceeds the
    engine's memory.
    """
    try:
        return (_compiled("|".join(f"(?:{text})" for text in expressions)),)
    except Malformed:
        return tuple(_compiled(text) for text in expressions)


def _compiled(text: str) -> object:
    """Raises Malformed."""
    import re2  # loaded with the first expression, since most servers have none

    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY, False, True
    try:
        return re2.compile(text.encode(), options=options)
    except re2.error as error:
        # A text, whose offset counts bytes, because the expression is given as bytes.
        reason = error.args[0]
        raise Malformed(reason.decode(errors="replace")) from None
    except UnicodeEncodeError:
        raise Malformed("a character is not valid text") from None
