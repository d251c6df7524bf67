"""Parser of LVM's metadata text: sections, and keys with numbers, strings or lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Section = dict[str, Any]  # values by name: numbers, strings, lists and sections

_TOKEN = re.compile(
    rb"""\s+|\#[^\n]*|(?P<name>[A-Za-z_][\w.+-]*)|(?P<number>-?\d+(?:\.\d+)?)"""
    rb"""|"(?P<string>(?:[^"\\]|\\.)*)"|(?P<sign>[{}\[\]=,])"""
)
_DEEPEST = 16  # nested sections; LVM itself nests three


def parse(data: bytes) -> Section:
    """Parse metadata to nested dictionaries; numbers become int. Raises ValueError."""
    tokens = _tokens(data)
    found = _section(tokens, 0)
    if next(tokens, None) is not None:
        raise ValueError("LVM metadata has a } too many")
    return found


def _section(tokens: Iterator[tuple[str, str]], depth: int) -> Section:
    """Parse a section up to its closing brace, or at depth 0 to the end of the text."""
    result: Section = {}
    for kind, name in tokens:
        if (kind, name) == ("sign", "}") and depth:
            return result
        if kind not in ("name", "number") or depth > _DEEPEST:
            raise ValueError(f"LVM metadata has {name[:20]!r} where a name is expected")
        sign = next(tokens, ("", ""))[1]
        if sign == "{":
            result[name] = _section(tokens, depth + 1)
        elif sign == "=":
            result[name] = _value(tokens)
        else:
            raise ValueError("LVM metadata has a name without a value")
    if depth:
        raise ValueError("LVM metadata is truncated")
    return result


def _value(tokens: Iterator[tuple[str, str]]) -> object:
    kind, word = next(tokens, ("", ""))
    if kind == "number":
        return int(float(word)) if "." in word else int(word)
    if kind == "string":
        return word
    if word != "[":
        raise ValueError("LVM metadata has a key without a value")
    result: list[int | str] = []
    for kind, word in tokens:
        if word == "]" and kind == "sign":
            return result
        if kind != "sign":
            result.append(int(word) if kind == "number" else word)
    raise ValueError("LVM metadata has a list without an end")


def _tokens(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        found = _TOKEN.match(data, at)
        if not found:
            raise ValueError("LVM metadata has a syntax error")
        at = found.end()
        if found.lastgroup:
            yield found.lastgroup, found[found.lastgroup].decode(errors="replace")
