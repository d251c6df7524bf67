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
from haulback.repository.names import FOLDERS, REVISION, Objects, exists, leaf_of, number_name
from haulback.repository.pack import read_directory
from haulback.repository.recent import Recent

CONFIG = "haulback.json"
CONFIG_COPY = "haulback.copy.json"
DIFFERENT = f"{CONFIG} and {CONFIG_COPY}"
SLOTS = "slots"  # folder of additional key slots
_SLOT_TRIES = 100
FORMAT_VERSION = 1  # other versions are refused
# Revision 2 added damage records, rolls, tombstones and the copy of the configuration.  A writer
# that does not know them could reuse damaged chunks, so older versions must refuse to write.
WRITER_REVISION = 2
REVISION_OBJECT = f"graves/needs-haulback-revision-{WRITER_REVISION}"
# an object in any of these folders shows that a repository exists
_HELD = ("manifests", "packs", "index")


class Config(msgspec.Struct, frozen=True):
    """The only unencrypted object: the repository's guid and the wrapped key.

    `check` is a sealed copy of the guid, which detects a configuration of another repository.
    `seal` covers the whole configuration, so that it detects damage to the slots of other secrets;
    the first release wrote no seal.
    """

    repository: str
    slots: list[Slot]
    check: bytes
    version: int = FORMAT_VERSION
    seal: bytes = b""


class RepositoryIdentity(NamedTuple):
    """The guid and keys of an opened repository; `problems` are damaged or missing copies of the
    configuration.  `is_whole` is true if the configuration and its copy were read, and are equal.
    """

    guid: str
    keys: Keys
    problems: dict[str, str]
    is_whole: bool = False


def encode(guid: str, keys: Keys, secrets: tuple[Secret, ...]) -> bytes:
    """The bytes of a configuration that each of `secrets` can open."""
    check = keys.seal("config", b"", guid.encode())
    bare = Config(guid, [keys.wrap(secret) for secret in secrets], check)
    sealed = keys.seal("config seal", msgspec.json.encode(bare), b"")
    return msgspec.json.encode(msgspec.structs.replace(bare, seal=sealed))


def create(destination: ObjectStore, data: bytes) -> None:
    """Store a new configuration and its copy.  Raises Conflict when the destination holds a
    repository.
    """
    if is_repository(destination):
        raise Conflict(
            "the destination holds a repository already; open it, or name an empty folder"
        )
    destination.store(CONFIG, data)
    with suppress(Conflict):
        destination.store(CONFIG_COPY, data)


def is_repository(destination: ObjectStore) -> bool:
    """Whether a configuration, or any other object of a repository, lies on the destination."""
    if exists(destination, CONFIG) or exists(destination, CONFIG_COPY):
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


def open_identity(
    destination: ObjectStore, secret: Secret | Keys, compared: Recent[bytes, str] | None = None
) -> RepositoryIdentity:
    """Authenticate the configuration or its copy; the keys of a recovery kit need neither.

    A configuration that was `compared` with an equal copy a short time ago is not compared again.
    Raises NotFound, WrongKey or Damaged.
    """
    tried = _Tried({}, {}, {})
    read = [_try(destination, CONFIG, secret, tried)]
    if compared is None or not any(map(compared.get, tried.opened)):
        read.append(_try(destination, CONFIG_COPY, secret, tried))
    problems, errors, opened = tried
    wrong = [error for error in errors.values() if isinstance(error, WrongKey)]
    if len(opened) > 1:
        problems[DIFFERENT] = (
            f"{DIFFERENT} differ: one of them is damaged in a part that this secret "
            "cannot check.  Open the repository with each of its secrets, and move "
            "away the copy that does not open"
        )
    if opened:
        identity = next(iter(opened.values()))
        if wrong and _is_exchanged(destination, identity.guid):
            raise wrong[0]
        is_whole = all(read) and len(opened) == 1
        if compared is not None and is_whole:
            compared.put(next(iter(opened)), identity.guid)
        return identity._replace(is_whole=is_whole)
    if isinstance(secret, Keys) and secret.repository:
        return RepositoryIdentity(_by_kit(destination, secret), secret, problems)
    if not isinstance(secret, Keys) and (keys := _by_slot(destination, secret)):
        return open_identity(destination, keys)
    if not errors:
        raise _missing(destination, problems)
    raise [*wrong, *errors.values()][0]


def _by_slot(destination: ObjectStore, secret: Secret) -> Keys | None:
    """The keys from an additional key slot that the secret opens."""
    for item in Objects(destination).list(SLOTS):
        with suppress(NotFound, RepositoryError):
            return _open(destination.load(item.name), item.name, secret)[1]
    return None


def slot_problems(destination: ObjectStore, guid: str, keys: Keys) -> dict[str, str]:
    """Additional key slots that are damaged, so that a key may no longer open the repository."""
    problems: dict[str, str] = {}
    for item in Objects(destination).list(SLOTS):
        try:
            data = destination.load(item.name)
            if not _decode(data, item.name).seal:  # each slot was written with a seal
                problems[item.name] = f"{item.name} is damaged"
            elif _open(data, item.name, keys)[0] != guid:
                problems[item.name] = f"{item.name} belongs to another repository"
        except NotFound:
            continue
        except RepositoryError as error:
            problems[item.name] = error.message
    return problems


def opens(destination: ObjectStore, secret: Secret) -> bool:
    """Whether a secret opens the repository."""
    try:
        open_identity(destination, secret)
    except RepositoryError:
        return False
    return True


def add_slot(destination: ObjectStore, guid: str, keys: Keys, secret: Secret) -> None:
    """Let one more secret open the repository, whose configuration is never replaced.

    Raises Conflict when other writers took a hundred numbers meanwhile.
    """
    data = encode(guid, keys, (secret,))
    first = max(Objects(destination).numbers(SLOTS), default=0) + 1
    for number in range(first, first + _SLOT_TRIES):
        with suppress(Conflict):  # another writer took the number
            destination.store(number_name(SLOTS, number), data)
            return
    raise Conflict("the key slot cannot be added: other writers took a hundred numbers; try again")


class _Tried(NamedTuple):
    """The results of opening the copies: problems by name, errors and identities by the bytes of a
    copy.
    """

    problems: dict[str, str]
    errors: dict[bytes, RepositoryError]
    opened: dict[bytes, RepositoryIdentity]


def _try(destination: ObjectStore, name: str, secret: Secret | Keys, tried: _Tried) -> bool:
    """Open one copy of the configuration, and tell whether it opens.

    Equal bytes are tried once, because a passphrase takes long.
    """
    data = b""
    try:
        data = destination.load(name)
        if data in tried.errors:
            raise tried.errors[data]
        if data not in tried.opened:
            tried.opened[data] = RepositoryIdentity(*_open(data, name, secret), tried.problems)
        return True
    except NotFound:
        if name == CONFIG or _is_raised(destination):
            tried.problems[name] = f"{name} is missing"
    except RepositoryError as error:
        tried.problems[name] = error.message
        tried.errors[data] = error
    return False


def _is_exchanged(destination: ObjectStore, guid: str) -> bool:
    """Whether a copy that this key does not open belongs to another repository.

    Random damage looks different: it leaves the guid intact, or a key slot that opens.
    """
    for name in (CONFIG, CONFIG_COPY):
        with suppress(NotFound, Damaged):
            if _decode(destination.load(name), name).repository != guid:
                return True
    return False


def confirm(destination: ObjectStore, guid: str, keys: Keys) -> bool:
    """Whether the identity object can be read now and belongs to this repository."""
    for name in (CONFIG, CONFIG_COPY):
        try:
            if _open(destination.load(name), name, keys)[0] == guid:
                return True
        except (NotFound, RepositoryError):
            continue
    return False


def complete(destination: ObjectStore, guid: str, keys: Keys) -> None:
    """Store the configuration from its copy, or the copy from the configuration, if one is
    missing.
    """
    held: dict[str, bytes] = {}
    for name in (CONFIG, CONFIG_COPY):
        with suppress(NotFound, RepositoryError):
            data = destination.load(name)
            if _open(data, name, keys)[0] == guid:
                held[name] = data
    for name in (CONFIG, CONFIG_COPY):
        if held and name not in held:
            with suppress(Conflict):  # a damaged copy stays for `repair`, which moves it aside
                destination.store(name, next(iter(held.values())))


def raise_revision(destination: ObjectStore, keys: Keys) -> None:
    """Store the revision object, which keeps older versions from writing.

    An older version opens every object in `entries/` before it writes, and fails at the revision
    object; readers of older versions do not open that folder.
    """
    if exists(destination, REVISION_OBJECT):  # cheaper on a remote store than a refused create
        return
    sealed = keys.seal("revision", REVISION_OBJECT.encode(), str(WRITER_REVISION).encode())
    with suppress(Conflict):
        destination.store(REVISION_OBJECT, sealed)


def revision_problems(destination: ObjectStore, keys: Keys) -> dict[str, str]:
    """The problem of the revision object: damaged, or missing although this version has written."""
    try:
        keys.unseal("revision", REVISION_OBJECT.encode(), destination.load(REVISION_OBJECT))
    except NotFound:
        if _has_written(destination):
            problem = f"{REVISION_OBJECT} is missing: an older Haulback could now write here"
            return {REVISION_OBJECT: problem}
    except (InvalidTag, Damaged):
        return {REVISION_OBJECT: f"{REVISION_OBJECT} is damaged"}
    return {}


def _has_written(destination: ObjectStore) -> bool:
    """Whether this revision has written here; the copy of the configuration is its first object."""
    if not exists(destination, CONFIG_COPY):
        return False
    objects = Objects(destination)
    return any(True for folder in FOLDERS for _ in objects.list(folder))


def check_revision(name: str) -> bool:
    """Whether an object in `entries/` is the revision object.

    Raises RepositoryError for a revision of a newer Haulback.
    """
    match = REVISION.fullmatch(leaf_of(name))
    if match and int(match[1]) > WRITER_REVISION:
        raise RepositoryError(
            f"a newer Haulback writes to this repository (revision {match[1]}, this "
            f"version supports {WRITER_REVISION}): update Haulback to write; reading "
            "still works",
            revision=int(match[1]),
        )
    return match is not None


def _is_raised(destination: ObjectStore) -> bool:
    """Whether this revision has written here: the first release wrote no copy of the
    configuration.
    """
    return exists(destination, REVISION_OBJECT)


def _open(data: bytes, name: str, secret: Secret | Keys) -> tuple[str, Keys]:
    config = _decode(data, name)
    keys = secret if isinstance(secret, Keys) else Keys.unwrap(config.slots, secret)
    guid = _authenticate(config, name, keys)
    if config.seal and data != msgspec.json.encode(config):
        raise Damaged(
            f"{name} is damaged: its bytes are not in the form that Haulback writes", name=name
        )
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
        raise Damaged(f"{name} names another repository than its key", name=name)
    return guid


_NO_REPOSITORY = (
    f"there is no repository on this destination: name the location that holds {CONFIG}, or create "
    "one by `haulback destination init`"
)


def _by_kit(destination: ObjectStore, keys: Keys) -> str:
    """The guid on the recovery kit, once an object of the repository has opened with the kit's
    key.
    """
    objects = Objects(destination)
    manifests = list(objects.list("manifests"))
    guid = keys.repository or ""
    for item in manifests:
        with suppress(NotFound, Damaged, InvalidTag):
            keys.unseal("manifest", leaf_of(item.name).encode(), destination.load(item.name))
            return guid
    if not manifests and not any(True for _ in objects.list("packs")):
        raise NotFound(_NO_REPOSITORY)
    for pack in objects.packs():
        with suppress(NotFound, Damaged):
            read_directory(destination, pack, keys)
            return guid
    raise WrongKey("the recovery kit belongs to another repository")


def _missing(destination: ObjectStore, problems: dict[str, str]) -> HaulbackError:
    if is_repository(destination):
        return Damaged(
            f"{CONFIG} and its copy cannot be read, but the destination holds a "
            f"repository ({'; '.join(problems.values())}): rebuild {CONFIG} from the "
            "recovery kit with `haulback repository repair FOLDER --kit KIT "
            "--key-file KEY --apply`"
        )
    return NotFound(_NO_REPOSITORY)
