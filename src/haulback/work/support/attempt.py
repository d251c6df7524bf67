"""The attempts of a task, named by the guid of the task and their number."""

from __future__ import annotations


def is_first(attempt: str) -> bool:
    """Whether a task had no earlier attempt, whose files a clean-up may still have to remove."""
    return attempt.rpartition("-")[2] == "1"
