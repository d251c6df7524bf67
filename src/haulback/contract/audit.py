"""Answers of /audit-log."""

from __future__ import annotations

from typing import Any

import msgspec


class AuditEntry(msgspec.Struct, omit_defaults=True):
    """An audit entry: caller, operation, time (epoch ms), subject, and values before and after."""

    number: int
    time: int
    caller: str
    login: str
    operation: str
    subject: str | None = None
    before: Any = None
    after: Any = None
