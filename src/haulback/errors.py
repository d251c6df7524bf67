"""The one error tree: wire code, HTTP status, exit code and whether trying again can help."""

from __future__ import annotations

from typing import Any, ClassVar, TypeGuard


class HaulbackError(Exception):
    """Base of every error raised on purpose.  `details` go on the wire beside `message`."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Malformed(HaulbackError):
    """The request cannot be understood; names the field and the remedy."""

    code, status, exit_code = "malformed", 400, 2


class Unauthenticated(HaulbackError):
    """Nobody known is asking."""

    code, status, exit_code = "unauthenticated", 401, 4


class Forbidden(HaulbackError):
    """Somebody known is asking for what is not theirs."""

    code, status, exit_code = "forbidden", 403, 4


class TooMany(HaulbackError):
    """Asked too often; `retryAfter` in the details says when to ask again, seconds."""

    code, status, exit_code, retryable = "too_many", 429, 7, True


class TooLarge(HaulbackError):
    """A request has more bytes or values than its operation takes; `most` says how many."""

    code, status, exit_code = "too_large", 413, 2


class TooSlow(HaulbackError):
    """A request did not arrive in its time."""

    code, status, exit_code, retryable = "too_slow", 408, 7, True


class NotFound(HaulbackError):
    """The named object does not exist (or is not visible to the caller)."""

    code, status, exit_code = "not_found", 404, 5


class Conflict(HaulbackError):
    """The object is not in a state that allows this."""

    code, status, exit_code = "conflict", 409, 6


class Fenced(Conflict):
    """The caller's attempt is over: a newer session or attempt owns the task."""

    code = "fenced"


class KindUnavailable(Conflict):
    """The kind of task is known but not built yet."""

    code = "kind_unavailable"


class Cancelled(HaulbackError):
    """The work was asked to stop."""

    code, status, exit_code = "cancelled", 409, 10


class TaskFailed(HaulbackError):
    """A task that was followed to its end did not finish."""

    code, exit_code = "task_failed", 8


class Unavailable(HaulbackError):
    """Something outside (destination, hypervisor) does not answer; trying again may help."""

    code, status, exit_code, retryable = "unavailable", 503, 7, True


class Unreadable(Unavailable):
    """Some bytes cannot be read; other bytes of the same place may be."""

    code = "unreadable"


class OutOfSpace(Unavailable):
    """A disk that must be written is full."""

    code, status = "out_of_space", 507


class NotWritable(Unavailable):
    """The server's own database cannot be written: its disk is full, or it is read-only."""

    code = "not_writable"


class Incomplete(HaulbackError):
    """Some files were not delivered in full; `files` in the details has `path` and `reason`."""

    code, status, exit_code = "incomplete", 409, 3


class Unsupported(HaulbackError):
    """A driver or destination does not offer this."""

    code, status = "unsupported", 400


class RepositoryError(HaulbackError):
    """A repository cannot be used as asked."""

    code, status, exit_code = "repository", 409, 6


class WrongKey(RepositoryError):
    """The passphrase or key file does not open this repository."""

    code, status, exit_code = "wrong_key", 403, 4


class Damaged(RepositoryError):
    """Stored bytes are missing, or are not the bytes that were written."""

    code = "damaged"


class Missing(RepositoryError):
    """Backups that must be in a repository are not, or their manifests cannot be read.

    `missing` are guids, `unreadable` the reason by guid.
    """

    code = "backups_missing"

    def __init__(self, message: str, missing: list[str], unreadable: dict[str, str]) -> None:
        super().__init__(message, missing=missing, unreadable=unreadable)
        self.missing, self.unreadable = missing, unreadable


class BaseGone(RepositoryError):
    """What an increment builds on is no longer stored; the backup has to be exported again."""

    code, retryable = "base_gone", True


class SourceChanged(HaulbackError):
    """An image changed its size, vanished or is in use while it was read."""

    code, status, retryable = "source_changed", 409, True


def is_away(error: BaseException | None) -> TypeGuard[Unavailable]:
    """Whether a place does not answer at all; Unreadable is about some of its bytes."""
    return isinstance(error, Unavailable) and not isinstance(error, Unreadable)
