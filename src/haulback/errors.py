"""Error classes with wire code, HTTP status, exit code and whether a retry can help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard


class HaulbackError(Exception):
    """Base class of all deliberate errors; `details` are sent beside `message`."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Malformed(HaulbackError):
    """A request is malformed; the message names the field and the remedy."""

    code, status, exit_code = "malformed", 400, 2


class Unauthenticated(HaulbackError):
    """The caller gave no valid login, token or node session."""

    code, status, exit_code = "unauthenticated", 401, 4


class Forbidden(HaulbackError):
    """The caller lacks the role or the project that the operation requires."""

    code, status, exit_code = "forbidden", 403, 4


class TooMany(HaulbackError):
    """The caller exceeded a rate limit; `retryAfter` in the details is the wait in seconds."""

    code, status, exit_code, retryable = "too_many", 429, 7, True


class TooLarge(HaulbackError):
    """A request exceeds the bytes or values its operation takes; `most` is the limit."""

    code, status, exit_code = "too_large", 413, 2


class TooSlow(HaulbackError):
    """A request did not arrive completely within the time limit."""

    code, status, exit_code, retryable = "too_slow", 408, 7, True


class NotFound(HaulbackError):
    """The named object does not exist, or the caller may not see the object."""

    code, status, exit_code = "not_found", 404, 5


class Conflict(HaulbackError):
    """The object is in a state that does not allow the operation."""

    code, status, exit_code = "conflict", 409, 6


class Fenced(Conflict):
    """The caller's attempt has ended: a newer session or attempt owns the task."""

    code = "fenced"


class OwnerChanged(Conflict):
    """Another server has taken over a destination: this server no longer writes there."""

    code = "owner_changed"


class KindUnavailable(Conflict):
    """The task type is known but not implemented."""

    code = "kind_unavailable"


class Cancelled(HaulbackError):
    """The task was cancelled."""

    code, status, exit_code = "cancelled", 409, 10


class TaskFailed(HaulbackError):
    """A task that the client followed to its end failed."""

    code, exit_code = "task_failed", 8


class Unavailable(HaulbackError):
    """A server, destination or hypervisor does not answer; a retry may help."""

    code, status, exit_code, retryable = "unavailable", 503, 7, True


class Misconfigured(Unavailable):
    """A destination or platform answers, but refuses the given settings or credentials.

    A retry cannot help; the message names the setting and the remedy.
    """

    code, status, retryable = "misconfigured", 409, False


class Unreadable(Unavailable):
    """Some bytes cannot be read; other bytes of the same destination or disk may be readable."""

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
    """A driver, destination or host does not support the operation."""

    code, status = "unsupported", 400


class RepositoryError(HaulbackError):
    """A repository cannot be used for the operation; base class of repository errors."""

    code, status, exit_code = "repository", 409, 6


class WrongKey(RepositoryError):
    """The passphrase or key file does not open this repository."""

    code, status, exit_code = "wrong_key", 403, 4


class Damaged(RepositoryError):
    """Stored bytes are missing or differ from the bytes that were written."""

    code = "damaged"


class Missing(RepositoryError):
    """Expected backups are missing from a repository, or their manifests cannot be read.

    `missing` lists guids, `unreadable` maps guids to reasons.
    """

    code = "backups_missing"

    def __init__(self, message: str, missing: list[str], unreadable: dict[str, str]) -> None:
        super().__init__(message, missing=missing, unreadable=unreadable)
        self.missing, self.unreadable = missing, unreadable


class BaseGone(RepositoryError):
    """The base of an increment is no longer stored; the backup must be exported again."""

    code, retryable = "base_gone", True


class SourceChanged(HaulbackError):
    """A disk image changed its size, vanished or was in use during the read."""

    code, status, retryable = "source_changed", 409, True


def is_away(error: BaseException | None) -> TypeGuard[Unavailable]:
    """Tell whether an error means that a whole destination or platform does not answer.

    False for Unreadable, which concerns some bytes only.
    """
    return isinstance(error, Unavailable) and not isinstance(error, Unreadable)


Classes = Mapping[str, type[HaulbackError]]


def by_code(*classes: type[HaulbackError]) -> Classes:
    """Error classes by code, from `classes` or from all; if several share a code, the most general
    class.
    """
    known: dict[str, type[HaulbackError]] = {}
    left = list(classes) or [HaulbackError]
    while left:
        error = left.pop(0)
        known.setdefault(error.code, error)
        left += [] if classes else error.__subclasses__()
    return known


def received(
    known: Classes, code: str, message: str, details: Mapping[str, object]
) -> HaulbackError:
    """An error that another process sent; a plain HaulbackError for a code that is not known.

    Details that do not fit the class are left out, since the sender is not trusted.
    """
    try:
        return known.get(code, HaulbackError)(message, **details)
    except TypeError:
        return HaulbackError(message)
