"""The sealed copy of the server's own database, as the node that stores it receives it."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

import haulback
from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict, HaulbackError
from haulback.inventory.own_server import OWN_ENTITY
from haulback.server.caller import Node
from haulback.server.key_vault import CopyCipher
from haulback.server.sealed_copy import CopyHead, CopyPart, sealed
from haulback.server.services import node_tasks
from haulback.server.services.app import App
from haulback.server.store import database_copy, destinations
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.database_copy import CopiedDatabase
from haulback.units import MIB

KEY_FILE = "server.key"
_SEALED = "sealed"
_BLOCKS = 32  # blocks of up to 1 MiB that are sealed between two keep-alive bytes
# Keep-alive bytes while the copy is made, so that the node's connection does not time out.
_STILL = b"\n"
log = logging.getLogger(__name__)


class _Wanted(NamedTuple):
    """The data of the copy for one attempt: its destination, the secret of the repository's key
    file, and that secret sealed by the repository's master key.
    """

    destination: BackupDestination
    secret: bytes
    slot: str


def stream(app: App, who: Node, task: str, slot: str) -> Iterator[bytes]:
    """The response to the node that runs the EXPORT of the server's own database.

    The response has line feeds while the copy is made, then a line of JSON with the size in bytes
    or an error, then the bytes of the sealed copy.  Raises Conflict, Forbidden, Fenced.
    """
    with app.store.read() as sql:
        export = node_tasks.mine(sql, who, task)
        if export.type != "EXPORT" or export.ref("protectedEntity") != OWN_ENTITY:
            raise Conflict("the task is not an EXPORT of the server's own database")
        to = SqlCatalogue(sql).places.destination(export.ref("backupDestination") or "")
        secret = app.vault.unseal(to.guid, destinations.sealed_key(sql, to.guid))
    return _stream(app, _Wanted(to, secret, slot))


def _stream(app: App, wanted: _Wanted) -> Iterator[bytes]:
    try:
        with _folder(app) as folder:
            about, made = database_copy.about(app.store), app.clock.now_ms()
            for _ in database_copy.copy(app.store, folder / about.file):
                yield _STILL
            (folder / KEY_FILE).write_bytes(app.vault.file_bytes())
            head = _head(wanted, about, made, folder)
            # The copy is sealed before its first byte is sent, so that an error can still be
            # reported.
            yield from _seal(head, folder, CopyCipher(wanted.secret, head.repository))
            yield from _sent(folder / _SEALED)
    except (HaulbackError, OSError) as error:
        yield _error_line(error)


def _seal(head: CopyHead, folder: Path, cipher: CopyCipher) -> Iterator[bytes]:
    """Write the sealed copy beside the files of a folder, and remove the files."""
    with ExitStack() as stack:
        files = [stack.enter_context((folder / part.name).open("rb")) for part in head.parts]
        target = stack.enter_context((folder / _SEALED).open("xb"))
        for number, block in enumerate(sealed(head, files, cipher)):
            target.write(block)
            if number % _BLOCKS == 0:
                yield _STILL
    for part in head.parts:
        (folder / part.name).unlink()


def _sent(file: Path) -> Iterator[bytes]:
    """The line of the size, and the bytes of a file."""
    yield msgspec.json.encode({"size": file.stat().st_size}) + b"\n"
    with file.open("rb") as source:
        while block := source.read(MIB):
            yield block


def _error_line(error: Exception) -> bytes:
    code = error.code if isinstance(error, HaulbackError) else "unavailable"
    message = error.message if isinstance(error, HaulbackError) else str(error)
    log.warning("the database cannot be copied: %s", message)
    return msgspec.json.encode({"code": code, "message": message}) + b"\n"


def _head(wanted: _Wanted, about: CopiedDatabase, made: int, folder: Path) -> CopyHead:
    """The head of the copy of the files in a folder."""
    names = (about.file, KEY_FILE)
    return CopyHead(
        haulback=haulback.__version__,
        schema=about.schema,
        database=about.kind,
        made=made,
        destination=wanted.destination.guid,
        repository=wanted.destination.repository or "",
        slot=wanted.slot,
        parts=[CopyPart(name, (folder / name).stat().st_size) for name in names],
    )


def _place(app: App) -> Path:
    if app.vault.path is None:
        raise Conflict(
            "a copy of the database needs a data folder, and this server has none; start the "
            "server with --data"
        )
    return app.vault.path.parent / "copies"


@contextmanager
def _folder(app: App) -> Iterator[Path]:
    """A new private folder in the server's data folder, removed at the end."""
    folder = _place(app) / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(app: App) -> None:
    """Remove the copies that a dead process left; call it before the first request."""
    if app.vault.path is not None:
        shutil.rmtree(_place(app), ignore_errors=True)
