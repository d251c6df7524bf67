"""A container of Azure Blob Storage as a destination, over obstore.

A PUT with `If-None-Match: *` creates an object whole or not at all, and fails where its name
exists.  obstore gives the answers of the store as text, and takes a lost reply for a failure: an
existing name is read back by the wrapper of remote stores.
"""

from __future__ import annotations

import mmap
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore

from haulback.contract.destination_types import AzureSettings
from haulback.destinations.bandwidth import RateTable, Throttle
from haulback.destinations.file_comparison import holds
from haulback.destinations.https_access import authority, opener
from haulback.destinations.object_names import checked
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.s3_errors import Answer, answer_of
from haulback.errors import (
    Conflict,
    Damaged,
    HaulbackError,
    Misconfigured,
    NotFound,
    OutOfSpace,
    Unavailable,
)

_MOST_IN_ONE_PUT = 5000 << 20  # bytes; the limit of Azure
_PROBES, _AT_ONCE = ".probe", 16
_CLOCK_SECONDS = 10.0  # to ask for the store's time
_TYPE = "application/octet-stream"
_VERSION = "2021-12-02"  # of the API, for requests beside obstore
_BEYOND = "Wanted range starting at"  # obstore's own refusal of an answer
_SECRETS = "give the destination new credentials with `haulback destination set --secret`"
_REMEDIES = {
    "ContainerNotFound": "the container does not exist: correct `container`, or create it; a "
    "container that was deleted has taken its backups along",
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
    "InvalidAuthenticationInfo": f"the credentials cannot be read by the store: {_SECRETS}",
}
_BY_STATUS = {401: "AuthenticationFailed", 403: "AuthenticationFailed"}
_BUSY = {"ServerBusy", "OperationTimedOut", "InternalError"}
_FULL = {"InsufficientAccountPermissions", "AccountLimitExceeded", "StorageQuotaExceeded"}
_NO_CONTAINER = {"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"}


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


class Azure:
    """Objects below `prefix` of a container; `owner` is the attempt that writes here."""

    def __init__(
        self, settings: AzureSettings, owner: str = "by-hand", share: AzureLane | None = None
    ) -> None:
        self.settings, self.owner = settings, owner
        self.share = share or _share_of(settings)
        self.client = _client(settings, settings.accountKey, settings.sasToken)

    @property
    def parallelism(self) -> int:
        return self.settings.parallelism

    def store(self, name: str, data: bytes) -> None:
        self._create(checked(name), data)

    def adopt(self, name: str, path: Path) -> None:
        try:
            self._upload(checked(name), path)
        except Conflict:
            if not holds(self, name, path):
                raise
        path.unlink()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        checked(name)
        wanted: Any = {"offset": offset} if length is None else (offset, offset + length)
        options: Any = None if offset == 0 and length is None else {"range": wanted}
        data = b""
        if length != 0:
            with self._asking(f"the reading of {name}", name):
                try:
                    answer = obstore.get(self.client, name, options=options)
                    self._check_page(name, answer.attributes)
                    data = bytes(answer.bytes())
                except BaseError as error:
                    if answer_of(error).status != 416 and _BEYOND not in str(error):
                        raise
            self.share.throttle.take(len(data))
        if len(data) == length and data:
            return data
        if length is None and data:
            return data
        return self._shorter(name, offset, length, data)

    def info(self, name: str) -> Item:
        checked(name)
        with self._asking(f"the look-up of {name}", name):
            try:
                found = obstore.get(self.client, name, options={"head": True})
            except FileNotFoundError:
                # the answer to a HEAD has no body: only that of a GET tells a missing container
                found = obstore.get(self.client, name)
            self._check_page(name, found.attributes)
            return _item(found.meta)

    def list(self, prefix: str) -> Iterator[Item]:
        below = checked(prefix) + "/"
        with self._asking(f"the list of {prefix}"):
            found = obstore.list(self.client, prefix).collect()
        return (_item(item) for item in found if item["path"].startswith(below))

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        below = checked(folder) + "/" if folder else ""
        with self._asking(f"the list of {folder or 'the root'}"):
            found = obstore.list_with_delimiter(self.client, folder or None)
        for path in found["common_prefixes"]:
            yield path[len(below) :].strip("/"), False
        for item in found["objects"]:
            if item["path"].startswith(below):
                yield item["path"][len(below) :], True

    def delete(self, name: str) -> None:
        settings = self.settings
        token = settings.deleteSasToken or ("" if settings.accountKey else settings.sasToken)
        if token:
            self._delete_by_token(token, checked(name))
        else:
            self._delete(checked(name))

    def sweep(self, alive: Set[str]) -> int:  # noqa: ARG002 - a PUT leaves nothing behind
        return 0

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - the Protocol's parameter
        return None

    @property
    def is_single_writer(self) -> bool:
        return False

    @property
    def has_parts(self) -> bool:
        return False

    def scratch(self, token: str) -> Azure:
        prefix = "/".join(part for part in (self.settings.prefix, _PROBES, token) if part)
        corner = msgspec.structs.replace(self.settings, prefix=prefix)
        many = self.share._replace(slots=BoundedSemaphore(_AT_ONCE))
        return Azure(corner, self.owner, many)

    def drop(self) -> None:
        """A container has no folders that could be left."""

    def check_neighbours(self) -> None:
        """Raise Conflict for a prefix inside a repository."""
        parts = self.settings.prefix.split("/") if self.settings.prefix else []
        for count in range(len(parts)):
            above = msgspec.structs.replace(self.settings, prefix="/".join(parts[:count]))
            try:
                Azure(above, self.owner, self.share).info(IDENTITY)
            except (NotFound, Misconfigured):
                continue
            raise Conflict(
                f"prefix: {where(self.settings)} lies inside the repository in {where(above)}: "
                "name another one"
            )

    def clock_ms(self) -> int | None:
        """The time in an answer, in whole seconds; an answer that refuses has one too."""
        request = urllib.request.Request(self._container_url, method="HEAD")
        access = opener(self.settings.ca, self.settings.proxy)
        try:
            with access.open(request, timeout=_CLOCK_SECONDS) as answer:
                told = answer.headers["Date"]
        except urllib.error.HTTPError as error:
            told = error.headers["Date"]
        except OSError:
            return None
        return int(parsedate_to_datetime(told).timestamp() * 1000) + 500 if told else None

    def links(self) -> bool | None:
        return None

    def may_replace(self, name: str) -> bool:
        return self._is_allowed(lambda: self._put(name, b"replaced", "overwrite"))

    def may_delete(self, name: str) -> bool:
        if self.settings.accountKey:
            return self._is_allowed(lambda: self._delete(name))
        return self._is_allowed(lambda: self._delete_by_token(self.settings.sasToken, name))

    def _is_allowed(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Misconfigured:
            return False
        return True

    def _create(self, name: str, data: bytes | mmap.mmap) -> None:
        self.share.throttle.take(len(data))
        try:
            self._put(name, data, "create")
        except (AlreadyExistsError, PreconditionError):
            self._settle(name)
        except Misconfigured as refused:
            # A token that may create and not write is refused for a name that exists.
            with suppress(NotFound, Misconfigured):
                self.info(name)
                raise self._exists(name) from refused
            raise

    def _put(self, name: str, data: bytes | mmap.mmap, mode: Any) -> None:
        attributes: Any = {"Content-Type": _TYPE}
        with self._asking(f"the creation of {name}"):
            obstore.put(
                self.client, name, data, attributes=attributes, mode=mode, use_multipart=False
            )

    def _settle(self, name: str) -> None:
        """Raise Conflict for an object that exists, Unavailable after a conflict of requests."""
        try:
            self.info(name)
        except NotFound:
            raise Unavailable(f"{name} met another request at the store; try again") from None
        raise self._exists(name)

    def _exists(self, name: str) -> Conflict:
        return Conflict(f"{name} exists already in {where(self.settings)}", name=name)

    def _upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        if size > _MOST_IN_ONE_PUT:
            raise Unavailable(f"{name} has {size} bytes: more than Azure takes in one request")
        if size == 0:
            self._create(name, b"")
            return
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            self._create(name, data)

    def _delete(self, name: str) -> None:
        with self._asking(f"the deletion of {name}"):
            try:
                obstore.delete(self.client, name)
            except FileNotFoundError as error:
                if answer_of(error).code in _NO_CONTAINER:
                    raise

    def _delete_by_token(self, token: str, name: str) -> None:
        """Delete by a request of its own: obstore sends batches, whose parts carry no token."""
        below = f"{self.settings.prefix}/{name}" if self.settings.prefix else name
        url = f"{self._container_url}/{quote(below)}?{token.lstrip('?')}"
        headers = {"x-ms-version": _VERSION}
        access = opener(self.settings.ca, self.settings.proxy)
        with self.share.slots:
            answer = Answer(None, "", "")
            try:
                request = urllib.request.Request(url, method="DELETE", headers=headers)
                access.open(request, timeout=self.settings.requestTimeout).close()
                return
            except urllib.error.HTTPError as error:
                code = error.headers.get("x-ms-error-code", "")
                answer = Answer(error.code, code, error.reason)
                error.close()
            except OSError as error:
                is_distrusted = isinstance(getattr(error, "reason", None), ssl.SSLError)
                answer = Answer(None, "Certificate" if is_distrusted else "", str(error))
        if answer.status != 404 or answer.code in _NO_CONTAINER:
            raise _problem(answer, self.settings, f"the deletion of {name}")

    @property
    def _container_url(self) -> str:
        base = self.settings.endpoint or f"https://{self.settings.account}.blob.core.windows.net"
        return f"{base}/{self.settings.container}"

    def _shorter(self, name: str, offset: int, length: int | None, data: bytes) -> bytes:
        """Settle a read that brought less than was asked for: Damaged, unless that is all."""
        size = self.info(name).size
        end = size if length is None else offset + length
        if offset > size or end > size:
            raise Damaged(f"{name} is truncated at byte {size}", name=name)
        if len(data) != end - offset:
            raise Unavailable(f"{name}: {len(data)} of {end - offset} bytes came; try again")
        return data

    def _check_page(self, name: str, attributes: Any) -> None:
        if str(attributes.get("Content-Type", "")).startswith("text/html"):
            raise Unavailable(
                f"{name}: a web page came in place of the object: a proxy or a portal answers in "
                f"place of {where(self.settings)}; check `endpoint` and `proxy`"
            )

    @contextmanager
    def _asking(self, doing: str, name: str = "") -> Iterator[None]:
        """Hold a slot, and translate the errors of a request for the object `name`."""
        try:
            with self.share.slots:
                yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if name and answer_of(error).code not in _NO_CONTAINER:
                raise NotFound(f"{name} is not in {where(self.settings)}", name=name) from None
            raise _problem(answer_of(error), self.settings, doing) from error
        except (BaseError, ValueError) as error:
            raise _problem(answer_of(error), self.settings, doing) from error


def open_store(settings: AzureSettings, owner: str) -> Azure:
    """Open a container; no request is made.  Raises Misconfigured without credentials."""
    if not settings.accountKey and not settings.sasToken:
        raise Misconfigured("accountKey: name the key of the account, or a `sasToken`")
    return Azure(settings, owner)


def where(settings: AzureSettings) -> str:
    """The place of a destination in messages."""
    below = f"/{settings.prefix}" if settings.prefix else ""
    return f"{settings.container}{below} of {settings.account}"


def _item(meta: Any) -> Item:
    return Item(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * 1000))


def _client(settings: AzureSettings, key: str, token: str) -> AzureStore:
    options: Any = {
        "allow_http": settings.endpoint.startswith("http://"),
        "timeout": f"{settings.requestTimeout}s",
        "connect_timeout": f"{settings.connectTimeout}s",
    }
    if settings.proxy:
        options["proxy_url"] = settings.proxy
    if settings.ca:
        options["root_certificate"] = authority(settings.ca)
    more: dict[str, Any] = {"endpoint": settings.endpoint} if settings.endpoint else {}
    more |= {"account_key": key} if key else {"sas_key": token}
    try:
        return AzureStore(
            settings.container,
            prefix=settings.prefix or None,
            account_name=settings.account,
            client_options=options,
            retry_config={"max_retries": 0},  # repeats are ours, with a look for the object
            **more,
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"{where(settings)} cannot be opened: {answer_of(error).text}; check `accountKey`, "
            "`sasToken`, `endpoint`, `proxy` and `ca`"
        ) from error


def _problem(answer: Answer, settings: AzureSettings, doing: str) -> HaulbackError:
    begin, code = f"{doing} failed at {where(settings)}", answer.code
    if code == "Certificate":
        return Misconfigured(
            f"{begin}: the certificate of the store is not trusted, or the store does not speak "
            "TLS: name its authority in `ca`, or correct `endpoint`"
        )
    if code in _FULL:
        return OutOfSpace(f"{begin}: the account is full: {answer.text}")
    if code in _BUSY or answer.status in (429, 503):
        return Unavailable(f"{begin}: the store asks for a pause")
    remedy = _REMEDIES.get(code) or _REMEDIES.get(_BY_STATUS.get(answer.status or 0, ""))
    if remedy:
        return Misconfigured(f"{begin}: {remedy} ({code or answer.status})")
    if answer.status is None:
        return Unavailable(
            f"{begin}: no answer: {answer.text}; check `account`, `endpoint`, `proxy` and the "
            "network"
        )
    return Unavailable(f"{begin}: {answer.status} {code}: {answer.text}")
