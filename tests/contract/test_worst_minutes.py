"""The server without disk space or file descriptors reports the problem and recovers."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from haulback.errors import NotWritable, Unavailable
from haulback.server.http.responses import failed
from haulback.server.services import readiness
from haulback.server.store import engine
from tests.contract.conftest import Answer, Served


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the cache of readiness checks."""
    monkeypatch.setattr(readiness, "_FRESH", 0.0)
    monkeypatch.setattr(readiness, "_REMEMBERED", 0.0)


def ready(served: Served) -> Answer:
    return served.call("GET", "/readyz", token=None)


def refuse_to_write(served: Served, yes: bool) -> None:
    """Make the database refuse writes: it may not grow, or it is read-only."""
    store = served.app.store
    if not store.is_sqlite:
        word = "on" if yes else "off"
        name = store.engine.url.database
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as sql:
            sql.exec_driver_sql("SET default_transaction_read_only = off")
            sql.exec_driver_sql(
                f'ALTER DATABASE "{name}" SET default_transaction_read_only = {word}'
            )
        store.engine.dispose()
        return
    # A listener is never added to the engine in use: its threads read the list of listeners.
    engine = store.engine.get_execution_options().get("writing", store.engine)
    if yes:
        engine = engine.execution_options(writing=engine)
        sa.event.listen(engine, "begin", _full)
    store.engine = store._reader = engine


def _full(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only = ON")


@pytest.fixture
def full(served: Served) -> Iterator[None]:
    refuse_to_write(served, True)
    yield
    refuse_to_write(served, False)
    if served.app.store.is_sqlite:
        served.app.store.engine.dispose()


def test_a_database_that_cannot_be_written_is_said_and_the_server_is_not_ready(
    served: Served, impatient: None, full: None, caplog: pytest.LogCaptureFixture
):
    for method, path, body in (
        ("POST", "/api/users", {"login": "p", "password": "long enough", "roles": ["viewer"]}),
        ("DELETE", "/api/tasks/all-running", None),
        ("POST", "/api/nodes/enrolment", None),
    ):
        answer = served.call(method, path, body)
        if method == "DELETE" and answer.status_code == 204:
            continue  # nothing had to be written
        assert (answer.status_code, answer.json()["code"]) == (503, "not_writable"), answer.text
    assert served.call("GET", "/api/tasks").status_code == 200
    answer = ready(served)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_writable")
    assert not [record for record in caplog.records if record.exc_info]


def test_a_database_that_can_be_written_again_makes_the_server_ready(
    served: Served, impatient: None
):
    refuse_to_write(served, True)
    assert ready(served).status_code == 503
    refuse_to_write(served, False)
    served.app.store.engine.dispose()
    assert ready(served).status_code == 200


def test_a_write_that_failed_keeps_the_server_from_being_ready_for_a_while(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(readiness, "_FRESH", 0.0)
    with pytest.raises(NotWritable), served.app.store.write():
        raise NotWritable("the database cannot be written: full")
    assert ready(served).status_code == 503
    monkeypatch.setattr(readiness, "_REMEMBERED", 0.0)
    assert ready(served).status_code == 200


def test_a_disk_that_is_almost_full_is_not_ready(
    served: Served, impatient: None, monkeypatch: pytest.MonkeyPatch
):
    if not served.app.store.is_sqlite:
        pytest.skip("the disk of PostgreSQL is not the server's")
    monkeypatch.setattr(readiness, "_LEAST", 1 << 62)
    assert ready(served).json()["code"] == "not_writable"


def test_a_process_without_descriptors_is_not_ready(
    served: Served, impatient: None, caplog: pytest.LogCaptureFixture
):
    ready(served)  # the required files are open
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE  # noqa: PT017 - the loop ends by it
    try:
        answer = ready(served)
    finally:
        for item in taken:
            os.close(item)
    assert answer.status_code == 503
    assert "descriptors" in answer.json()["message"]
    assert ready(served).status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


def test_anonymous_readiness_requests_cost_one_check_a_second(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    looks: list[int] = []
    beat = served.app.store.beat
    monkeypatch.setattr(served.app.store, "beat", lambda now: (looks.append(now), beat(now)))
    monkeypatch.setattr(readiness, "_FRESH", 3600.0)
    served.app.store.refused, served.app.readiness._until = None, 0.0
    for _ in range(20):
        assert ready(served).status_code == 200
    served.app.readiness._until = 0.0
    assert len(looks) == 1


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO]
)
def test_what_the_system_refuses_is_one_line_and_a_503(
    number: int, caplog: pytest.LogCaptureFixture
):
    answer = failed(OSError(number, os.strerror(number), "/d"), "GET", "/x")
    assert answer.status == 503
    assert os.strerror(number).encode() in answer.body
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


def test_a_database_file_that_is_damaged_is_no_defect_of_the_server(tmp_path: Path):
    store = engine.open_store(f"sqlite:///{tmp_path}/a.db")
    error = sa.exc.DatabaseError("x", None, Exception("database disk image is malformed"))
    with pytest.raises(Unavailable, match="malformed"), engine.mapped():
        raise error
    with pytest.raises(Unavailable), engine.mapped():
        raise sa.exc.TimeoutError("QueuePool limit reached")
    store.close()
