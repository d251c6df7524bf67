"""The database, migrated when it is opened, with one writer and one server on an SQLite file."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from haulback import logs
from haulback.durable_files import hold
from haulback.errors import Conflict, Malformed, Misconfigured, NotFound, NotWritable, Unavailable
from haulback.server.store import database_refusals, schema
from haulback.server.store.tables import pulse

log = logging.getLogger(__name__)
Connection = sa.Connection

_WAIT_MS = 30_000  # milliseconds for which SQLite waits for another program that locks its file
LONGEST_READ_MS = 30_000  # seconds after which a list without an index fails with 503
EVENTS = "events"  # member of a connection's `info`, set by `events.add`
_STEPS = 100_000  # SQLite instructions between two checks of the time
_NAMED = (
    "name the server's folder by --data, or its PostgreSQL database by --database or "
    "HAULBACK_DATABASE"
)
RESTORING = "haulback_restoring"  # a table that marks a database whose restore has not ended
_CONNECTIONS = 16  # number of connections: as many as threads that answer requests


class FairLock:
    """A fair lock: the thread that has waited longest gets the lock first, so that bulk work
    starves no other writer.
    """

    def __init__(self) -> None:
        # guards the queue; each waiter sleeps on a lock of its own, not on this one
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # waits until the previous owner releases the lock

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class _RolledBack(Exception):
    """Ends a dry run: the transaction is rolled back."""


class Store:
    """A migrated database.  `read` and `write` hand out a connection in one transaction."""

    def __init__(self, engine: sa.Engine, lock: IO[bytes] | None = None) -> None:
        self.engine, self._lock = engine, lock
        self._name = uuid.uuid4().hex
        self._reader = engine
        if engine.dialect.name == "postgresql":
            # Every statement sees all earlier commits, with or without a transaction, so that reads
            # without a transaction save two round trips.
            self._reader = sa.create_engine(
                engine.url,
                pool_size=_CONNECTIONS,
                isolation_level="AUTOCOMMIT",
                connect_args={"options": f"-c statement_timeout={LONGEST_READ_MS}"},
            )
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = FairLock()
        self.refused: tuple[float, str] | None = None  # time and reason of the last failed write
        self.on_events: Callable[[], None] = lambda: None  # called after a commit with new events
        self._rehearsal = threading.local()  # `sql`: the connection of this thread's dry run

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Roll back, at the end of the context, all writes of this thread."""
        with suppress(_RolledBack), logs.rehearsed(), self._writing() as connection:
            self._rehearsal.sql = connection
            try:
                yield
            finally:
                self._rehearsal.sql = None
            raise _RolledBack

    @contextmanager
    def _rehearsed(self, connection: sa.Connection) -> Iterator[sa.Connection]:
        """A transaction within a dry run; an error rolls back this transaction alone."""
        with mapped(), connection.begin_nested():
            yield connection

    @property
    def _rehearsing(self) -> sa.Connection | None:
        found: sa.Connection | None = getattr(self._rehearsal, "sql", None)
        return found

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read connection: SQLite reads a single snapshot, PostgreSQL a new one for each
        statement.
        """
        if (rehearsing := self._rehearsing) is not None:
            yield rehearsing
            return
        if not self.is_sqlite:
            with mapped(), self._reader.connect() as connection:
                yield connection
            return
        with mapped(), self._reader.begin() as connection:
            plain: Any = connection.connection.driver_connection
            end = time.monotonic() + LONGEST_READ_MS / 1000
            plain.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            try:
                yield connection
            finally:
                plain.set_progress_handler(None, 0)

    @contextmanager
    def savepoint(self, connection: sa.Connection) -> Iterator[None]:
        """A part of a transaction that can be rolled back separately."""
        with mapped(), connection.begin_nested():
            yield

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction that reads many rows, some rows at a time."""
        if (rehearsing := self._rehearsing) is not None:
            yield rehearsing
            return
        with mapped(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A write transaction: the database commits all of it durably, or nothing.

        Raises NotWritable when the database's disk is full or the database is read-only.
        """
        if (rehearsing := self._rehearsing) is not None:
            with self._rehearsed(rehearsing) as connection:
                yield connection
            return
        try:
            with self._writing() as connection:
                connection.info.pop(EVENTS, None)  # for a transaction that was rolled back
                yield connection
                has_events = connection.info.pop(EVENTS, False)
        except NotWritable as error:
            self.refused = (time.monotonic(), error.message)
            raise
        if has_events:
            self.on_events()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        if not self.is_sqlite:
            with mapped(), self.engine.begin() as connection:
                yield connection
            return
        # SQLite has one writer: threads queue for it here instead of polling the file lock.
        with self._writer, mapped(), self.engine.connect() as plain:
            connection = plain.execution_options(immediate=True)
            with connection.begin():
                yield connection

    def beat(self, now: int) -> None:
        """Write a row, to check that the database accepts writes.  Raises Unavailable."""
        with self.write() as sql:
            values = {"number": 1, "time": now}
            if sql.execute(sa.update(pulse).values(time=now)).rowcount == 0:
                sql.execute(sa.insert(pulse).values(values))

    @property
    def free_bytes(self) -> int | None:
        """Free bytes on the disk of an SQLite file; None for PostgreSQL."""
        if not self.is_sqlite:
            return None
        found = os.statvfs(Path(str(self.engine.url.database)).parent)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def once(self) -> Iterator[sa.Connection]:
        """A connection for one statement that changes data, in a transaction of its own."""
        is_writer = self.is_sqlite or self._rehearsing is not None
        with self.write() if is_writer else self.read() as connection:
            yield connection

    def notify(self) -> None:
        """Notify the other servers on this PostgreSQL of a change."""
        with mapped(), self._reader.begin() as connection:
            connection.exec_driver_sql("SELECT pg_notify('haulback', %(by)s)", {"by": self._name})

    def heard(self) -> Iterator[bool]:
        """Notifications of other servers: yields True for each, and False meanwhile.  Raises
        Unavailable.
        """
        with mapped(), self._reader.connect() as connection:
            connection.exec_driver_sql("LISTEN haulback")
            plain: Any = connection.connection.driver_connection
            while True:
                found = list(plain.notifies(timeout=1.0, stop_after=1))
                yield any(one.payload != self._name for one in found)

    def close(self) -> None:
        self.engine.dispose()
        self._reader.dispose()
        if self._lock:
            self._lock.close()


def open_store(url: str, *, restoring: bool = False, apart: bool = False) -> Store:
    """Open and migrate the database at `url` (`sqlite:///…` or `postgresql://…`).

    `apart` is true if the migration runs in a forked process, which requires that the caller has no
    other thread.

    Raises Malformed for another kind of URL, Conflict when another server uses the SQLite file or
    a newer Haulback wrote the database, Unavailable when the database does not answer; Conflict
    for a database whose restore has not ended, unless the caller is `restoring` it.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        store = _sqlite(Path(str(parsed.database)).absolute())
    else:
        store = Store(
            sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_size=_CONNECTIONS)
        )
    try:
        with mapped():
            if not restoring:
                _check_restored(store.engine)
            schema.migrate_apart(store.engine) if apart else schema.migrate(store.engine)
    except BaseException as error:
        store.close()
        if isinstance(error, sa.exc.DatabaseError):
            raise Conflict(f"the database cannot be used: {_first_line(error.orig)}") from None
        raise
    return store


def _check_restored(engine: sa.Engine) -> None:
    if engine.dialect.name == "postgresql" and sa.inspect(engine).has_table(RESTORING):
        raise Conflict(
            "the restore of this database has not ended: run haulback server restore-database with "
            "the same --data and --database again"
        )


def peek(url: str) -> Store:
    """Open an existing database for reading, also while a server uses the database.

    Raises NotFound.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Store(sa.create_engine(parsed.set(drivername="postgresql+psycopg")))
    path = Path(str(parsed.database)).absolute()
    if not path.exists():
        raise NotFound(f"there is no database {path}: {_NAMED}")
    return Store(sa.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true"))


def amend(url: str) -> Store:
    """Open an existing database for writing, also while a server uses the database.

    The database is not migrated.  Raises NotFound.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Store(sa.create_engine(parsed.set(drivername="postgresql+psycopg")))
    path = Path(str(parsed.database)).absolute()
    if not path.exists():
        raise NotFound(f"there is no database {path}: {_NAMED}")
    if not os.access(path, os.W_OK):
        raise NotWritable(f"{path} cannot be written: run this as the user of the server")
    return Store(_sqlite_engine(path))


def parse_url(url: str) -> sa.URL:
    """The parts of a database's URL; `postgres://` is read as `postgresql://`, as by psql.  Raises
    Malformed.
    """
    if url.startswith("postgres://"):
        url = url.replace("postgres", "postgresql", 1)
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise Malformed(
            "the database URL is malformed; write sqlite:///file.db or "
            "postgresql://user@host/database"
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql") or not parsed.database:
        raise Malformed(
            "write the database as sqlite:///file.db or postgresql://user@host/database"
        )
    return parsed


def sqlite_url(data: Path) -> str:
    """The URL of the SQLite database in a server's data folder."""
    return f"sqlite:///{data.absolute()}/haulback.db"


def _own(path: Path) -> IO[bytes]:
    """The lock file beside the database; the kernel releases the lock when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    taken = (
        f"another server uses {path}: stop that server first; several servers of one "
        "database need PostgreSQL"
    )
    return hold(Path(f"{path}.lock"), taken)


def _sqlite(path: Path) -> Store:
    lock = _own(path)
    return Store(_sqlite_engine(path), lock)


def _sqlite_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": _WAIT_MS / 1000}
    )
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # this module sends BEGIN itself
    # FULL: a committed change survives a power failure. A longer log between two checkpoints,
    # because bulk changes in pieces write the same pages repeatedly.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=4000",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@cache
def _errors(name: str, with_psycopg: bool) -> tuple[type[Exception], ...]:
    """The errors of SQLAlchemy, and those of the drivers, which raw SQL statements raise
    directly.
    """
    kinds: list[type[Exception]] = [getattr(sa.exc, name), getattr(sqlite3, name)]
    if with_psycopg:
        import psycopg

        kinds.append(getattr(psycopg, name))
    return tuple(kinds)


def _drivers(name: str, *more: type[Exception]) -> tuple[type[Exception], ...]:
    # A server on SQLite does not load psycopg, which takes 10 MB, and receives none of its errors.
    return (*more, *_errors(name, "psycopg" in sys.modules))


_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}  # error codes of SQLite, lowest byte
_STRANGE = {sqlite3.SQLITE_NOTADB}
_REFUSING = {"53100", "25006"}  # PostgreSQL codes for a full disk and for a read-only database


@contextmanager
def mapped() -> Iterator[None]:
    """Map database errors to Haulback's errors: no response, unsuitable value, conflicting rows."""
    try:
        yield
    except _drivers("DataError", OverflowError) as error:
        raise Malformed("a value is too long, too large or holds a NUL character") from error
    except _drivers("IntegrityError") as error:
        raise Conflict(
            "another request changed the record first: read the record again and repeat the request"
        ) from error
    except _drivers("DatabaseError", sa.exc.TimeoutError) as error:
        raise _away(getattr(error, "orig", None) or error) from error


def _away(cause: BaseException) -> Unavailable:
    """The reason why the database does not answer, and the remedy."""
    said = _first_line(cause)
    full = getattr(cause, "sqlite_errorcode", 0) & 0xFF in _FULL
    if full or getattr(cause, "sqlstate", None) in _REFUSING:
        return NotWritable(
            f"the database cannot be written: {said}; free space on its disk, or make it writable"
        )
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _STRANGE or "already exists" in said:
        return Misconfigured(
            f"the database is not a database of Haulback ({said}): name another database "
            "by --database or --data, or restore a damaged file "
            "(docs/howto/when-the-server-is-gone.md)"
        )
    if remedy := database_refusals.remedy(said):
        return Unavailable(f"the database refuses the server: {said}; {remedy}")
    return Unavailable(f"the database does not answer: {said}")


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
