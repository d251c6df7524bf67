"""Texts from outside: names that callers choose, and file names of arbitrary bytes."""

from __future__ import annotations

import re

from haulback.errors import Malformed

_MOST = 200  # maximum length of a name, in characters
_ATOM, _LABEL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_LONGEST_LOCAL, _LONGEST_ADDRESS = 64, 254  # RFC 5321, 4.5.3.1


def is_printable(text: str, most: int = _MOST) -> bool:
    """Whether a text has 1 to `most` characters, all of them printable."""
    return 0 < len(text) <= most and text.isprintable()


def check_name(text: str | None, field: str = "name", most: int = _MOST) -> str:
    """Return a name of 1 to `most` printable characters, not only spaces.  Raises Malformed."""
    if text is None or not 0 < len(text.strip()) <= most or not text.isprintable():
        raise Malformed(f"{field}: give 1 to {most} printable characters", field=field)
    return text


def check_address(text: str, field: str) -> str:
    """Return a mail address as `ops@example.org`, without spaces around it.  Raises Malformed.

    An address with a line break would add headers to a mail.
    """
    address = text.strip(" ")
    is_short = len(address) <= _LONGEST_ADDRESS
    if not is_short or not _ADDRESS.fullmatch(address) or address.index("@") > _LONGEST_LOCAL:
        shown = printable(text)[:80]
        raise Malformed(f"{field}: {shown!r} is not a mail address as ops@example.org", field=field)
    return address


def printable(text: str) -> str:
    """Untrusted text with control characters and lone surrogates escaped."""
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def sendable(text: str) -> str:
    """Text with lone surrogates and NUL escaped, because JSON and databases accept all other
    characters.
    """
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def without_passwords(text: str) -> str:
    """Text with the passwords in its URLs replaced: `http://me:***@host/`."""
    return _URL_PASSWORD.sub(r"\1:***@", text)


def _escaped(letter: str) -> str:
    """A character as an escape; a surrogate that stands for a byte of a file name is shown as that
    byte.
    """
    byte = ord(letter) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(letter)[1:-1]


def reason(error: Exception) -> str:
    """The reason of a file that cannot be read, without the number and the path of the error."""
    why = getattr(error, "strerror", None) or str(error)
    return f"{why}; check the path" if isinstance(error, FileNotFoundError) else why
