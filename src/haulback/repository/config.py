"""The identity of a repository: `haulback.json`, its copy, and the revision of the format."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import ObjectStore
from haulback.errors import (
    Conflict,
    Damaged,
    HaulbackError,
    NotFound,
    RepositoryError,
    WrongKey,
)
from haulback.repository.keys import Keys, Secret, Slot
from haulback.repository.names import FOLDERS, REVISION, Objects, leaf_of, stands
from haulback.repository.pack import read_directory

CONFIG = "haulback.json"
CONFIG_COPY = "haulback.copy.json"
DIFFERENT = f"{CONFIG} and {CONFIG_COPY}"
FORMAT_VERSION = 1
# Revision 2 added damage records, rolls, tombstones and the copy of the configuration.  A writer
# that does not know them could reuse damaged chunks: older versions must refuse to write.
WRITER_REVISION = 2
_REVISION = f"graves/needs-haulback-revision-{WRITER_REVISION}"
_HELD = ("manifests", "packs", "index")  # one object in any of them: a repository lies here


class Config(msgspec.Struct, frozen=True):
    """The one object in the clear: which repository this is and how its key is wrapped.

    `check` is a sealed copy of the guid, so that a swapped config is noticed.  `seal` is bound to
    all the rest, so that damage to the slot of another secret is; the first release wrote none.
    """

    repository: str
    slots: list[Slot]
    check: bytes
    version: int = FORMAT_VERSION
    seal: bytes = b""


class RepositoryIdentity(NamedTuple):
    """The guid and keys of an opened repository; `problems` are damaged or missing copies."""

    guid: str
    keys: Keys
    problems: dict[str, str]


def encode(guid: str, keys: Keys, secrets: tuple[Secret, ...]) -> bytes:
    """The bytes of a configuration that each of `secrets` opens."""
    check = keys.seal("config", b"", guid.encode())
    bare = Config(guid, [keys.wrap(secret) for secret in secrets], check)
    sealed = keys.seal("config seal", msgspec.json.encode(bare), b"")
    return msgspec.json.encode(msgspec.structs.replace(bare, seal=sealed))


def create(destination: ObjectStore, data: bytes) -> None:
    """Store a new configuration and its copy.  Raises Conflict where a repository lies already."""
    if is_repository(destination):
        raise Conflict("the destination holds a repository already")
    destination.store(CONFIG, data)
    with suppress(Conflict):
        destination.store(CONFIG_COPY, data)


def is_repository(destination: ObjectStore) -> bool:
    """Whether a configuration, or any object of a repository, lies on the destination."""
    if stands(destination, CONFIG) or stands(destination, CONFIG_COPY):
        return True
    objects = Objects(destination)
    return any(True for folder in _HELD for _ in objects.list(folder))


def read_config(destination: ObjectStore) -> Config:
    """The configuration or its copy, not yet authenticated.  Raises NotFound or Damaged."""
    problems: dict[str, str] = {}
    for name in (CONFIG, CONFIG_COPY):
        try:
            return _decode(destination.load(name), name)
        except (NotFound, Damaged) as error:
            problems[name] = error.message
    raise _missing(destination, problems)


def open_identity(destination: ObjectStore, secret: Secret | Keys) -> RepositoryIdentity:
    """Authenticate the configuration or its copy; the keys of a recovery kit do without either.

    Raises NotFound, WrongKey or Damaged.
    """
    tried = _Tried({}, {}, {})
    for name in (CONFIG, CONFIG_COPY):
        _try(destination, name, secret, tried)
    problems, errors, opened = tried
    wrong = [error for error in errors.values() if isinstance(error, WrongKey)]
    if len(opened) > 1:
        problems[DIFFERENT] = (
            f"{DIFFERENT} differ: one of them is damaged where this secret does not look.  Open "
            "the repository with each of its secrets, and move away the one that does not open"
        )
    if opened:
        found = next(iter(opened.values()))
        if wrong and _is_exchanged(destination, found.guid):
            raise wrong[0]
        return found
    if isinstance(secret, Keys) and secret.repository:
        return RepositoryIdentity(_by_kit(destination, secret), secret, problems)
    if not errors:
        raise _missing(destination, problems)
    raise [*wrong, *errors.values()][0]


class _Tried(NamedTuple):
    """The tries of the copies: problems by name, errors and identities by a copy's bytes."""

    problems: dict[str, str]
    errors: dict[bytes, RepositoryError]
    opened: dict[bytes, RepositoryIdentity]


def _try(destination: ObjectStore, name: str, secret: Secret | Keys, tried: _Tried) -> None:
    """Open one copy of the configuration; like bytes are tried once: a passphrase takes long."""
    data = b""
    try:
        data = destination.load(name)
        if data in tried.errors:
            raise tried.errors[data]
        if data not in tried.opened:
            tried.opened[data] = RepositoryIdentity(*_open(data, name, secret), tried.problems)
    except NotFound:
        if name == CONFIG or _is_raised(destination):
            tried.problems[name] = f"{name} is missing"
    except RepositoryError as error:
        tried.problems[name] = error.message
        tried.errors[data] = error


def _is_exchanged(destination: ObjectStore, guid: str) -> bool:
    """Whether a copy that this key does not open names another repository.

    Rot cannot do both: it leaves the guid, or a key slot that opens.
    """
    for name in (CONFIG, CONFIG_COPY):
        with suppress(NotFound, Damaged):
            if _decode(destination.load(name), name).repository != guid:
                return True
    return False


def confirm(destination: ObjectStore, guid: str, keys: Keys) -> bool:
    """Whether the identity object can be read and is that of this repository, right now."""
    for name in (CONFIG, CONFIG_COPY):
        try:
            if _open(destination.load(name), name, keys)[0] == guid:
                return True
        except (NotFound, RepositoryError):
            continue
    return False


def complete(destination: ObjectStore, guid: str, keys: Keys) -> None:
    """Store whichever of the configuration and its copy is missing, from the other."""
    held: dict[str, bytes] = {}
    for name in (CONFIG, CONFIG_COPY):
        with suppress(NotFound, RepositoryError):
            data = destination.load(name)
            if _open(data, name, keys)[0] == guid:
                held[name] = data
    for name in (CONFIG, CONFIG_COPY):
        if held and name not in held:
            with suppress(Conflict):  # damaged: repair sets it aside
                destination.store(name, next(iter(held.values())))


def raise_revision(destination: ObjectStore, keys: Keys) -> None:
    """Store the object that keeps older versions from writing.

    An older version opens every object in `graves/` before it writes, and fails at this one; its
    readers never look there.
    """
    sealed = keys.seal("revision", _REVISION.encode(), str(WRITER_REVISION).encode())
    with suppress(Conflict):
        destination.store(_REVISION, sealed)


def revision_problems(destination: ObjectStore, keys: Keys) -> dict[str, str]:
    """The revision object, where it is damaged, or missing although this version has written."""
    try:
        keys.unseal("revision", _REVISION.encode(), destination.load(_REVISION))
    except NotFound:
        if _has_written(destination):
            return {_REVISION: f"{_REVISION} is missing: an older Haulback could write here"}
    except (InvalidTag, Damaged):
        return {_REVISION: f"{_REVISION} is damaged"}
    return {}


def _has_written(destination: ObjectStore) -> bool:
    """Whether this revision has written here: it makes the copy, then stores other objects."""
    if not stands(destination, CONFIG_COPY):
        return False
    objects = Objects(destination)
    return any(True for folder in FOLDERS for _ in objects.list(folder))


def check_revision(name: str) -> bool:
    """Whether an object in `graves/` is about the revision.  Raises RepositoryError when newer."""
    found = REVISION.fullmatch(leaf_of(name))
    if found and int(found[1]) > WRITER_REVISION:
        raise RepositoryError(
            f"a newer Haulback writes to this repository (revision {found[1]}, this one knows "
            f"{WRITER_REVISION}): update Haulback to write; reading goes on",
            revision=int(found[1]),
        )
    return found is not None


def _is_raised(destination: ObjectStore) -> bool:
    """Whether this revision has written here: the first release kept no copy."""
    return stands(destination, _REVISION)


def _open(data: bytes, name: str, secret: Secret | Keys) -> tuple[str, Keys]:
    config = _decode(data, name)
    keys = secret if isinstance(secret, Keys) else Keys.unwrap(config.slots, secret)
    guid = _authenticate(config, name, keys)
    if config.seal and data != msgspec.json.encode(config):
        raise Damaged(f"{name} is damaged: it is not spelled as it was written", name=name)
    return guid, keys


def _decode(data: bytes, name: str) -> Config:
    try:
        return msgspec.json.decode(data, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"{name} is damaged: {error}", name=name) from error


def _authenticate(config: Config, name: str, keys: Keys) -> str:
    try:
        guid = keys.unseal("config", b"", config.check).decode()
        if config.seal:
            bare = msgspec.structs.replace(config, seal=b"")
            keys.unseal("config seal", msgspec.json.encode(bare), config.seal)
    except (InvalidTag, UnicodeDecodeError) as error:
        raise Damaged(f"{name} is damaged or belongs to another key", name=name) from error
    if guid != config.repository:
        raise Damaged(f"{name} names another repository than its key does", name=name)
    return guid


def _by_kit(destination: ObjectStore, keys: Keys) -> str:
    """The guid on the kit, once some object has shown that the kit's key is the right one."""
    objects = Objects(destination)
    manifests = list(objects.list("manifests"))
    guid = keys.repository or ""
    for item in manifests:
        with suppress(NotFound, Damaged, InvalidTag):
            keys.unseal("manifest", leaf_of(item.name).encode(), destination.load(item.name))
            return guid
    if not manifests and not any(True for _ in objects.list("packs")):
        raise NotFound("there is no repository on this destination; init one first")
    for pack in objects.packs():
        with suppress(NotFound, Damaged):
            read_directory(destination, pack, keys)
            return guid
    raise WrongKey("the recovery kit belongs to another repository")


def _missing(destination: ObjectStore, problems: dict[str, str]) -> HaulbackError:
    if is_repository(destination):
        return Damaged(
            f"{CONFIG} and its copy cannot be read, but a repository lies here "
            f"({'; '.join(problems.values())}): make {CONFIG} anew from the recovery kit with "
            "`haulback repository repair FOLDER --kit KIT --key-file KEY --apply`"
        )
    return NotFound("there is no repository on this destination; init one first")
