"""The member of a request that an error concerns, for errors whose message names no member."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from itertools import chain

import msgspec

from haulback.errors import HaulbackError, Malformed, NotFound

_NAMED = re.compile(r"(?P<field>[A-Za-z][\w.\[\]-]*): ")


def name_field(
    error: HaulbackError, guid: str, query: list[tuple[str, str]], body: bytes
) -> HaulbackError:
    """The error, with `field` added to the details of a 400 or a 404."""
    if isinstance(error, Malformed | NotFound) and not error.details.get("field"):
        error.details["field"] = _field(error, guid, query, body)
    return error


def _field(error: HaulbackError, guid: str, query: list[tuple[str, str]], body: bytes) -> str:
    if found := _NAMED.match(error.message):
        return found["field"]
    about = error.details.get("guid")
    if about and about == guid:
        return "guid"
    sent = chain(query, _texts(body)) if about else ()
    named = next((name for name, value in sent if value.lower() == about), None)
    return named or ("guid" if guid and isinstance(error, NotFound) else "body")


def _texts(body: bytes) -> Iterator[tuple[str, str]]:
    """Every string in a JSON body, with its path."""
    try:
        waiting: deque[tuple[str, object]] = deque(
            [("", msgspec.json.decode(body))] if body else []
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, dict):
            waiting += [(f"{path}.{k}" if path else k, v) for k, v in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{i}]", v) for i, v in enumerate(value)]
        elif isinstance(value, str):
            yield path.removesuffix(".guid") or "body", value
