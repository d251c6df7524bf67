"""Log lines of the server and the node: text with key=value members, or JSON lines.

A caller passes the members of a line in addition to the message: `log.info("task taken",
extra=members(task=guid, attempt=1))`.  Both forms are written to standard error.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum

_IS_REHEARSED = ContextVar("is_rehearsed", default=False)
_PLAIN = re.compile(r"[\w.:/@+-]+")


class LogFormat(StrEnum):
    """The form of a log line."""

    TEXT = "text"
    JSON = "json"


def members(**values: object) -> dict[str, object]:
    """Build the `extra` of a log call, without values that are None or empty text."""
    return {"members": {k: v for k, v in values.items() if v is not None and v != ""}}


@contextmanager
def rehearsed() -> Iterator[None]:
    """Drop the lines below WARNING of this context: a dry run changes nothing that they name."""
    before = _IS_REHEARSED.set(True)
    try:
        yield
    finally:
        _IS_REHEARSED.reset(before)


def _is_real(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or not _IS_REHEARSED.get()


def start(level: str, form: LogFormat) -> None:
    """Send the log of this process to standard error.

    `level` is a level name of the logging module, in any case.  Raises ValueError for an unknown
    name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form is LogFormat.JSON else _Text())
    handler.addFilter(_is_real)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in ("httpx2", "httpcore2", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _moment(record: logging.LogRecord) -> str:
    found = datetime.fromtimestamp(record.created, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _members_of(record: logging.LogRecord) -> dict[str, object]:
    found: dict[str, object] = getattr(record, "members", {})
    return found


class _Text(logging.Formatter):
    """Text form: `2026-01-31T22:00:00.000Z INFO haulback.node.runner task taken attempt=1`."""

    def format(self, record: logging.LogRecord) -> str:
        head = [_moment(record), record.levelname, record.name, record.getMessage()]
        tail = [f"{key}={_quoted(value)}" for key, value in _members_of(record).items()]
        line = " ".join([*head, *tail])
        # A line break in a message would let a hostile peer forge a log line.
        line = line.replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class _Json(logging.Formatter):
    """JSON form: `time`, `level`, `logger`, `message`, the members, `error` of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_members_of(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
