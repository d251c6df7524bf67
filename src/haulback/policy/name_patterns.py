"""Regular expressions for names of machines, matched in a time linear in the length of the name.

The engine is RE2: an expression that takes exponential time elsewhere takes linear time here.  An
expression matches a name that begins with it, as the expressions of the vendor do; `$` ends a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from haulback.errors import Malformed

MOST, LONGEST = 100, 500  # expressions of a list, characters of an expression
_MEMORY = 1 << 20  # bytes that the engine may use for an expression


class NamePatterns:
    """The expressions of a list; a list without expressions matches no name.

    Raises Malformed for an expression that RE2 does not read; `field` names the list.
    """

    def __init__(self, expressions: Sequence[str], field: str = "") -> None:
        if len(expressions) > MOST:
            raise Malformed(f"{field}: at most {MOST} expressions", field=field)
        self._patterns = [
            _checked(text, f"{field}[{place}]") for place, text in enumerate(expressions)
        ]

    def match(self, name: str) -> bool:
        """Whether a name begins with one of the expressions."""
        encoded = name.encode(errors="replace")
        return any(pattern.match(encoded) for pattern in self._patterns)


def _checked(text: str, field: str) -> Any:
    if not text or len(text) > LONGEST:
        raise Malformed(f"{field}: 1 to {LONGEST} characters", field=field)
    return _compiled(text, field)


@lru_cache(maxsize=256)
def _compiled(text: str, field: str) -> Any:
    import re2  # loaded with the first expression: most servers need none

    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY, False, True
    try:
        return re2.compile(text.encode(), options=options)
    except (re2.error, UnicodeEncodeError) as error:
        raise Malformed(
            f"{field}: {text[:60]!r} is no regular expression of RE2: {error}", field=field
        ) from None
