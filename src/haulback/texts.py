"""Texts from outside: names that callers choose, and bytes of names that may be anything."""

from __future__ import annotations

from haulback.errors import Malformed

_MOST = 200  # characters of a name


def is_printable(text: str, most: int = _MOST) -> bool:
    """Tell whether a text has 1 to `most` characters, all of them printable."""
    return 0 < len(text) <= most and text.isprintable()


def check_name(text: str | None, field: str = "name", most: int = _MOST) -> str:
    """Return a name of 1 to `most` printable characters, not only spaces.  Raises Malformed."""
    if text is None or not 0 < len(text.strip()) <= most or not text.isprintable():
        raise Malformed(f"{field}: 1 to {most} printable characters", field=field)
    return text


def printable(text: str) -> str:
    """Untrusted text with control characters and lone surrogates escaped."""
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def sendable(text: str) -> str:
    """Text with lone surrogates and NUL escaped: JSON and databases take all else."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def _escaped(letter: str) -> str:
    """A character as an escape; a surrogate that stands for a byte of a file name as the byte."""
    byte = ord(letter) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(letter)[1:-1]
