"""The log of a program that runs until it is stopped."""

from __future__ import annotations

import os

from haulback import logs
from haulback.errors import Malformed
from haulback.logs import LogFormat


def start_log(form: LogFormat) -> None:
    """Start the log of a server or node.  Raises Malformed for an unknown level."""
    level = os.environ.get("HAULBACK_LOG", "INFO")
    try:
        logs.start(level, form)
    except ValueError:
        raise Malformed(f"HAULBACK_LOG is {level!r}: write DEBUG, INFO, WARNING or ERROR") from None
