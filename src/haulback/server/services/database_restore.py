"""Restore of the server's own database into a new data folder, from a sealed copy.

The restore writes to a hidden folder beside the new folder, and renames it at the end: an
interrupted restore leaves no folder that a server would open, and the same command continues it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from haulback.contract.task_states import State
from haulback.durable_files import DurableFiles, hold, write_private
from haulback.errors import Conflict, Damaged
from haulback.kinds.registry import KINDS
from haulback.server.key_vault import CopyCipher
from haulback.server.sealed_copy import CopyHead, opened, read_head
from haulback.server.services import hold as held_server
from haulback.server.services.app import App
from haulback.server.services.database_stream import KEY_FILE
from haulback.server.services.own_key import open_vault
from haulback.server.store import database_copy, database_restore, epoch, tasks
from haulback.server.store.engine import Connection
from haulback.units import utc

_NOTE = "restored.json"  # written when the database is complete, so that only the rename is left
_LOCK = "lock"
_PARTS = ("haulback.db", "haulback.dump", KEY_FILE)
# Tasks that only read, or that may run twice; such a running task is queued again.
_HARMLESS = frozenset(
    (
        "BACKUP_DESTINATION_INIT",
        "CONNECTIVITY_TEST",
        "INVENTORY_SYNC",
        "SCOPED_INVENTORY_SYNC",
        "UNMOUNT",
        "VERIFY",
    )
)


class RestoredDatabase(msgspec.Struct):
    """The record of a restore in the data folder.  Times in epoch ms."""

    made: int
    haulback: str
    database: str
    destination: str
    epoch: int


class RestoredServer(NamedTuple):
    """The location of the restored server: its data folder, and its database ("" for SQLite)."""

    data: Path
    database: str = ""

    @property
    def draft(self) -> Path:
        """The folder in which the restore writes."""
        return self.data.with_name(f".{self.data.name}.restoring")


Secret = Callable[[CopyHead], bytes]
Write = Callable[[Path], None]


def restore(site: RestoredServer, write: Write, secret: Secret) -> RestoredDatabase:
    """Restore a sealed copy; `write` writes it to a new file, `secret` returns its key.

    Raises Conflict for a location in use and for a copy of a newer version; WrongKey; Damaged;
    Unavailable when the database does not answer.
    """
    _check_free(site.data)
    site.draft.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = site.draft / _LOCK
    with closing(hold(lock, f"another restore into {site.data} is running")):
        with _copy_in(site.draft, write) as copy:
            done = _restored(site, copy, secret)
        _publish(site, lock)
    return done


def _check_free(data: Path) -> None:
    if data.is_mount():
        # A rename gives the restored folder its name in one step, which is impossible for a mount
        # point.
        raise Conflict(f"--data: {data} is a mount point; name a new folder below it")
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Conflict(f"--data: {data} is not empty; name a new folder for the restored server")


@contextmanager
def _copy_in(draft: Path, write: Write) -> Iterator[Path]:
    """The sealed copy as a file in the hidden folder, for the duration of the restore."""
    copy = draft / "copy"
    copy.unlink(missing_ok=True)
    try:
        write(copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _restored(site: RestoredServer, copy: Path, secret: Secret) -> RestoredDatabase:
    with copy.open("rb") as file:
        head, first = read_head(file)
        if done := _completed_before(site.draft, head):
            return done
        database_restore.check_schema(head.schema, head.haulback)
        database_restore.check_target(head.database, site.database)
        cipher = CopyCipher(secret(head), head.repository)
        _empty(site.draft, (_LOCK, copy.name))
        _write_parts(site.draft, head, opened(file, head, first, cipher))
    return _completed(site, head)


def _completed_before(draft: Path, head: CopyHead) -> RestoredDatabase | None:
    """The record of an interrupted restore of the same copy whose database is complete."""
    try:
        done = msgspec.json.decode((draft / _NOTE).read_bytes(), type=RestoredDatabase)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return done if (done.made, done.destination) == (head.made, head.destination) else None


def _empty(folder: Path, keep: tuple[str, ...]) -> None:
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_parts(folder: Path, head: CopyHead, content: Iterator[bytes]) -> None:
    """Write the parts of a copy as files; they are authentic once this returns."""
    blocks = _Blocks(content)
    for part in head.parts:
        if part.name not in _PARTS:
            raise Damaged(f"the copy holds {part.name[:40]!r}, which does not belong to a database")
        handle = os.open(folder / part.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:
            for block in blocks.take(part.size):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    blocks.end()


class _Blocks:
    """The content of a copy, divided at the ends of its parts."""

    def __init__(self, content: Iterator[bytes]) -> None:
        self._content, self._held = content, b""

    def take(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes."""
        while count:
            self._held = self._held or next(self._content)
            block, self._held = self._held[:count], self._held[count:]
            count -= len(block)
            yield block

    def end(self) -> None:
        """Read the end of the copy, which proves that the whole content is authentic."""
        for _ in self._content:
            pass


def _completed(site: RestoredServer, head: CopyHead) -> RestoredDatabase:
    """Make the restored files usable: begin a new epoch and the hold, and end all tasks."""
    file = site.draft / head.parts[0].name
    if head.database == database_copy.SQLITE:
        database_restore.check_file(file)
    else:
        database_restore.load(site.database, file)
        file.unlink()
    with closing(database_restore.opened(site.draft, site.database)) as store:
        app = App(store, KINDS, open_vault(site.draft / KEY_FILE, store))
        note = RestoredDatabase(
            made=head.made,
            haulback=head.haulback,
            database=head.database,
            destination=head.destination,
            epoch=_begin(app, head.made),
        )
        # The record is written before the mark of the database is removed: afterwards only the
        # rename is left, with which a repeated restore continues.
        write_private(site.draft / _NOTE, msgspec.json.encode(note))
        database_restore.finish(store)
    return note


def _begin(app: App, copied: int) -> int:
    """Begin a new epoch, and end all tasks that ran when the copy was made."""
    why = f"the server's database was restored from its copy of {utc(copied)}"
    with app.store.write() as sql:
        number = epoch.begin(sql)
        database_restore.give_up_unfinished(sql, why)
        text = f"{why}: nothing is deleted until a VERIFY has read every destination"
        held_server.begin(sql, app.clock.now_ms(), copied, text)
    after = ""
    while True:
        with app.store.write() as sql:
            piece = database_restore.open_tasks(sql, after)
            for task in piece:
                _end(app, sql, task.guid, why)
        if not piece:
            return number
        after = piece[-1].guid


def _end(app: App, sql: Connection, guid: str, why: str) -> None:
    """End a task that may have continued after the copy was made.

    A repetition could overwrite a machine or store a backup twice, so that only harmless tasks are
    queued again.
    """
    task, moves = tasks.get(sql, guid, lock=True), app.task_changes(sql)
    if task.type in _HARMLESS and not task.cancel_wanted:
        if task.state == State.RUNNING.value:
            moves.requeue(task, why)
    elif task.state in (State.QUEUED.value, State.RUNNING.value):
        task.retry_count, task.results = 0, {}
        moves.end(task, State.FAILED, f"{why}; submit the task again if it is still needed")


def _publish(site: RestoredServer, lock: Path) -> None:
    """Rename the complete folder."""
    for path in site.draft.glob("*.lock"):
        path.unlink()
    lock.unlink()
    DurableFiles().sync_folder(site.draft)
    os.rename(site.draft, site.data)  # an empty folder of this name is replaced
    DurableFiles().sync_folder(site.data.parent)
