"""A container of Azure Blob Storage as a destination, over obstore.

A PUT with `If-None-Match: *` creates an object completely or not at all, and fails if its name
exists.
"""

from __future__ import annotations

import http.client
import mmap
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import msgspec
from obstore.exceptions import BaseError
from obstore.store import AzureStore

from haulback.contract.destination_types import AzureSettings
from haulback.destinations.answer_headers import date_ms, pause_of
from haulback.destinations.bandwidth import RateTable, Throttle
from haulback.destinations.https_access import client_options, opener
from haulback.destinations.obstore_objects import AT_ONCE, PROBES, ObstoreObjects
from haulback.destinations.s3_errors import DELETION, SENTENCES, Answer, answer_of, unanswered
from haulback.errors import (
    HaulbackError,
    Misconfigured,
    OutOfSpace,
    Unavailable,
)

_MOST_IN_ONE_PUT = 5000 << 20  # bytes of a part; the limit of Azure
_LOOK_SECONDS = 10.0  # seconds for a request that only reads headers
_HALF_SECOND = 500  # ms; the store's clock tells whole seconds
_VERSION = "2021-12-02"  # version of the API, for requests that do not use obstore
_SECRETS = "give the destination new credentials with `haulback destination set --secret`"
_REMEDIES = {
    "ContainerNotFound": "the container does not exist: correct `container`, or create it; the "
    "backups of a deleted container are lost",
    "ContainerBeingDeleted": "the container is being deleted: name another `container`",
    "AuthenticationFailed": f"`accountKey` or `sasToken` is wrong or has expired: {_SECRETS}",
    "AuthorizationFailure": "the account refuses `accountKey` or `sasToken`, or this "
    f"network: {_SECRETS}",
    "AuthorizationPermissionMismatch": "the credentials may not do this: grant read, create and "
    "list to `sasToken`, and delete to `deleteSasToken`",
    "AccountIsDisabled": "the account is disabled: ask its administrator",
    "InvalidResourceName": "the store refuses the name of the container: correct `container`",
    "ResourceNotFound": "the account or the container does not exist: correct `account`, "
    "`container` and `endpoint`",
    "InvalidUri": "the store does not understand the address: correct `endpoint`, which ends with "
    "the name of the account, and `container`",
    "InvalidAuthenticationInfo": f"the credentials cannot be read by the store: {_SECRETS}",
}
_BY_STATUS = {401: "AuthenticationFailed", 403: "AuthenticationFailed"}
_WITHOUT_CODE = {400: "InvalidUri"}
_BUSY = {"ServerBusy", "OperationTimedOut", "InternalError"}
_FULL = {"AccountLimitExceeded", "StorageQuotaExceeded"}


class AzureLane(NamedTuple):
    """The requests and the bandwidth that all tasks of this process share at a destination."""

    slots: BoundedSemaphore
    throttle: Throttle


_shares: dict[tuple[object, ...], AzureLane] = {}
_shares_lock = Lock()


def _share_of(settings: AzureSettings) -> AzureLane:
    place = (settings.endpoint, settings.account, settings.container, settings.prefix)
    with _shares_lock:
        return _shares.setdefault(
            (*place, settings.parallelism, settings.bandwidth),
            AzureLane(
                BoundedSemaphore(settings.parallelism), Throttle(RateTable(settings.bandwidth))
            ),
        )


class Azure(ObstoreObjects):
    """Objects below `prefix` of a container; `owner` is the attempt that writes here."""

    no_place = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"})

    settings: AzureSettings

    def __init__(
        self, settings: AzureSettings, owner: str = "by-hand", share: AzureLane | None = None
    ) -> None:
        self.settings, self.owner = settings, owner
        self.share = share or _share_of(settings)
        self.client = _client(settings, settings.accountKey, settings.sasToken)

    @property
    def place(self) -> str:
        return where(self.settings)

    @property
    def slots(self) -> BoundedSemaphore:
        return self.share.slots

    @property
    def throttle(self) -> Throttle:
        return self.share.throttle

    def problem(self, error: Exception, doing: str) -> Exception:
        answer = answer_of(error)
        pause = self._wanted_pause() if _is_busy(answer) else 0.0
        return _problem(answer, self.settings, doing, pause)

    @cached_property
    def deleting(self) -> AzureStore:
        """The client for deletions, which uses the deleting credentials if the order has them."""
        token = self.settings.deleteSasToken
        return _client(self.settings, "", token) if token else self.client

    @property
    def parallelism(self) -> int:
        return self.settings.parallelism

    @property
    def is_single_writer(self) -> bool:
        return False

    @property
    def has_parts(self) -> bool:
        return False

    def scratch(self, token: str) -> Azure:
        prefix = "/".join(part for part in (self.settings.prefix, PROBES, token) if part)
        corner = msgspec.structs.replace(self.settings, prefix=prefix)
        many = self.share._replace(slots=BoundedSemaphore(AT_ONCE))
        return Azure(corner, self.owner, many)

    def drop(self) -> None:
        """Do nothing, because a container has no folders that could be left over."""

    def at(self, prefix: str) -> Azure:
        return Azure(msgspec.structs.replace(self.settings, prefix=prefix), self.owner, self.share)

    def clock_ms(self) -> int | None:
        """The time in an answer, in whole seconds; a refusal has one too."""
        headers = self._headers()
        told = date_ms(headers["Date"]) if headers else None
        return None if told is None else told + _HALF_SECOND

    def _wanted_pause(self) -> float:
        """Ask the busy store for the pause in seconds that it requests; 0 if it requests none."""
        headers = self._headers()
        return pause_of(headers["Retry-After"], headers["Date"]) if headers else 0.0

    def _headers(self) -> Message | None:
        """The headers of the store's answer, with any status; None without an answer."""
        request = urllib.request.Request(self._container_url, method="HEAD")
        access = opener(self.settings.ca, self.settings.proxy)
        try:
            with access.open(request, timeout=_LOOK_SECONDS) as answer:
                return cast(Message, answer.headers)
        except urllib.error.HTTPError as error:
            return error.headers
        except (OSError, http.client.HTTPException):
            return None

    @property
    def _container_url(self) -> str:
        base = self.settings.endpoint or f"https://{self.settings.account}.blob.core.windows.net"
        return f"{base}/{self.settings.container}"

    def create(self, name: str, data: bytes | mmap.mmap) -> None:
        try:
            super().create(name, data)
        except Misconfigured:
            # Azure refuses a token that may create but not write if the name exists.
            with suppress(Misconfigured):
                self.refuse_existing(name)
            raise

    def remove(self, client: AzureStore, name: str) -> None:
        settings = self.settings
        own = "" if settings.accountKey else settings.sasToken
        if token := own if client is self.client else settings.deleteSasToken:
            self._remove_by(token, name)
        else:
            super().remove(client, name)

    def _remove_by(self, token: str, name: str) -> None:
        """Delete by a separate request, because obstore sends batches whose parts carry no
        token.
        """
        below = f"{self.settings.prefix}/{name}" if self.settings.prefix else name
        url = f"{self._container_url}/{quote(below)}?{token.lstrip('?')}"
        request = urllib.request.Request(url, method="DELETE", headers={"x-ms-version": _VERSION})
        access = opener(self.settings.ca, self.settings.proxy)
        try:
            with self.slots:
                access.open(request, timeout=self.settings.requestTimeout).close()
        except urllib.error.HTTPError as error:
            code = error.headers.get("x-ms-error-code", "")
            error.close()
            if error.code != 404 or code in self.no_place:
                answer = Answer(error.code, code, error.reason)
                pause = pause_of(error.headers["Retry-After"], error.headers["Date"])
                raise _problem(answer, self.settings, f"{DELETION}{name}", pause) from error
        except (OSError, http.client.HTTPException) as error:
            doing = f"{DELETION}{name}"
            raise _problem(unanswered(error), self.settings, doing) from error

    def upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        if size > _MOST_IN_ONE_PUT:
            raise Unavailable(f"{name} has {size} bytes: more than Azure accepts in one request")
        self.create_from(name, path)


def open_store(settings: AzureSettings, owner: str) -> Azure:
    """Open a container; no request is made.  Raises Misconfigured without credentials."""
    if not settings.accountKey and not settings.sasToken:
        raise Misconfigured("accountKey: name the key of the account, or a `sasToken`")
    return Azure(settings, owner)


def where(settings: AzureSettings) -> str:
    """The location of a destination, for messages."""
    below = f"/{settings.prefix}" if settings.prefix else ""
    return f"{settings.container}{below} of {settings.account}"


def _client(settings: AzureSettings, key: str, token: str) -> AzureStore:
    options = client_options(settings, allow_http=settings.endpoint.startswith("http://"))
    more: dict[str, Any] = {"endpoint": settings.endpoint} if settings.endpoint else {}
    more |= {"account_key": key} if key else {"sas_key": token}
    try:
        return AzureStore(
            settings.container,
            prefix=settings.prefix or None,
            account_name=settings.account,
            client_options=options,
            # This module repeats requests itself, after a check whether the object exists.
            retry_config={"max_retries": 0},
            **more,
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"{where(settings)} cannot be opened: {answer_of(error).text}; check `accountKey`, "
            "`sasToken`, `endpoint`, `proxy` and `ca`"
        ) from error


def _is_busy(answer: Answer) -> bool:
    return answer.code in _BUSY or answer.status in (429, 503)


def _problem(
    answer: Answer, settings: AzureSettings, doing: str, pause: float = 0.0
) -> HaulbackError:
    code = answer.code or _WITHOUT_CODE.get(answer.status or 0, "")
    begin = f"{doing} failed at {where(settings)}"
    if code in SENTENCES:
        return Misconfigured(f"{begin}: {answer.text}")
    if code in _FULL:
        return OutOfSpace(f"{begin}: the account is full: {answer.text}")
    if _is_busy(answer):
        return Unavailable(
            f"{begin}: the store limits the rate of requests; try again later", retryAfter=pause
        )
    remedy = _REMEDIES.get(code) or _REMEDIES.get(_BY_STATUS.get(answer.status or 0, ""))
    if remedy:
        if settings.deleteSasToken and doing.startswith(DELETION):
            remedy = remedy.replace("`accountKey` or `sasToken`", "`deleteSasToken`")
        return Misconfigured(f"{begin}: {remedy} ({code or answer.status})")
    if answer.status is None:
        return Unavailable(
            f"{begin}: no answer: {answer.text}; check `account`, `endpoint`, `proxy` and the "
            "network"
        )
    if not code:
        return Unavailable(
            f"{begin}: the answer is not one of an Azure store: {answer.text.rstrip(': ')}; check "
            "`endpoint`, with its protocol and port, and `proxy`"
        )
    return Unavailable(f"{begin}: {answer.status} {code}: {answer.text}")
