"""The node's main loop against a fake server that each test controls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.contract.order_records import Hypervisor
from haulback.drivers import registry
from haulback.errors import (
    Cancelled,
    Conflict,
    Damaged,
    Fenced,
    HaulbackError,
    OutOfSpace,
    Unauthenticated,
    Unavailable,
)
from haulback.ids import new_guid
from haulback.node import runner as runners
from haulback.node import server_calls
from haulback.node.runner import Runner
from haulback.node.server_client import Offer
from haulback.node.state_dir import NodeIdentity, StateDir, write_identity
from haulback.node.task_context import RunningTask
from haulback.node.task_progress import TaskProgress
from haulback.retry import Backoff
from haulback.testing.memory_hypervisor import MemoryHypervisor
from haulback.work.context import TaskWork


class Order(msgspec.Struct):
    """An order without members."""


class Server:
    """A fake server link: offered tasks, failures, and recorded reports."""

    lease, url = 5.0, "http://server"

    def __init__(self) -> None:
        self.guid = new_guid()
        self.told: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.news, self.ended = threading.Event(), threading.Event()
        self.offered = [self.guid]
        self.number = 0
        self.lines: list[str] = []
        self.reason = ""
        self.results_sent: dict[str, Any] = {}
        self.records_told = threading.Event()
        self.on_order: Callable[[], None] = lambda: None

    def _answer(self, what: str) -> None:
        if self.errors.get(what):
            raise self.errors[what].pop(0)

    def open(self) -> None:
        self._answer("open")

    def now_ms(self) -> int:
        return 0

    def offers(self) -> list[Offer]:
        self._answer("offers")
        if not self.offered:
            self.news.wait(0.05)
            return []
        return [Offer(self.offered[0], {"name": "TEST"})]  # repeatedly, as a server does

    def take(self, guid: str) -> None:
        self.offered = []
        self._answer("take")
        self.number += 1

    def order(self, guid: str, kind: type[msgspec.Struct]) -> tuple[int, Any]:
        self._answer("order")
        self.on_order()
        return self.number, Order()

    def refuse(self, guid: str, why: str) -> None:
        self.set_state(guid, "FAILED", why)

    def results(self, attempt: str, results: dict[str, Any]) -> None:
        self._answer("results")
        self.results_sent = results

    def set_state(self, attempt: str, state: str, info: str | None = None) -> None:
        self._answer("state")
        self.reason = info or ""
        self.reason.encode()
        self.told.append(state)
        self.ended.set()

    def log(self, attempt: str, lines: list[str]) -> None:
        "".join(lines).encode()
        self.lines += lines

    def is_cancelled(self, attempt: str) -> bool:
        return False

    def needed(self, names: list[str]) -> list[str]:
        return []

    def shares(self) -> list[str]:
        return []

    def questions(self) -> list[Any]:
        self.news.wait(0.05)
        return []

    def progress(self, attempt: str, percent: float) -> None:
        self._answer("progress")

    def records(self, attempt: str, counts: dict[str, Any]) -> None:
        assert counts == {"processedObjectCount": 3, "totalObjectCount": 4, "progress": 75.0}
        self.records_told.set()

    def rate(self, attempt: str, per_second: float, done: int) -> None:
        """Record the call."""

    def alive(self, total: int, used: int) -> None:
        """Record the call."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDir]:
    monkeypatch.setattr(server_calls, "_BACKOFF", Backoff(0.01))
    monkeypatch.setattr(runners, "_AGAIN", 0.01)
    write_identity(tmp_path, NodeIdentity(new_guid(), "s"))
    made = StateDir(tmp_path, [])
    yield made
    made.close()


def runs(server: Server, home: StateDir, run: Callable[[RunningTask], dict[str, Any]]) -> Runner:
    """A node that runs until `stop`, in another thread."""
    runner = Runner(server, home, {"TEST": TaskWork("TEST", Order, run)})  # type: ignore[arg-type]
    runner.thread = threading.Thread(target=runner.run)  # type: ignore[attr-defined]
    runner.thread.start()  # type: ignore[attr-defined]
    return runner


def ends(runner: Runner) -> None:
    runner.stop()
    runner.thread.join(20)  # type: ignore[attr-defined]
    assert not runner.thread.is_alive()  # type: ignore[attr-defined]


def told(server: Server, home: StateDir, run: Callable[[RunningTask], dict[str, Any]]) -> list[str]:
    """The reports to the server at the end of the work."""
    runner = runs(server, home, run)
    assert server.ended.wait(20)
    ends(runner)
    assert home.leftovers() == []
    return server.told


def test_work_is_taken_done_and_told(home: StateDir):
    assert told(Server(), home, lambda work: {"done": 1}) == ["FINISHED"]
    assert home.journal.entries() == []


def test_work_that_counts_records_reports_records_and_no_bytes(home: StateDir):
    server = Server()

    def run(work: RunningTask) -> dict[str, Any]:
        work.progress.expect_records(4)
        work.progress.meter(3)
        assert server.records_told.wait(20)
        work.progress.meter(1)
        return {}

    assert told(server, home, run) == ["FINISHED"]
    assert server.results_sent["processedObjectCount"] == 4
    assert server.results_sent["totalObjectCount"] == 4
    assert "dataTransferRate" not in server.results_sent


def test_an_unexpected_answer_does_not_end_the_asking(home: StateDir):
    server = Server()
    server.errors = {"offers": [HaulbackError("a defect"), ValueError("?"), Unavailable("away")]}
    assert told(server, home, lambda work: {}) == ["FINISHED"]


def test_the_log_tells_once_that_the_server_is_away_and_once_that_it_is_back(
    home: StateDir, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger=runners.__name__)
    server = Server()
    server.errors = {
        "open": [Unavailable("no route")] * 3,
        "offers": [Unavailable("refused")] * 3,
    }
    assert told(server, home, lambda work: {}) == ["FINISHED"]
    lines = [record.getMessage() for record in caplog.records if record.name == runners.__name__]
    assert lines[:4] == [
        "no route; trying again",
        "connected to the server",
        "refused; trying again",
        "reconnected to the server",
    ]


@pytest.mark.parametrize(
    ("error", "event"),
    [(None, "task finished"), (Cancelled("x"), "task cancelled"), (Conflict("x"), "task failed")],
)
def test_each_line_of_the_log_about_a_task_names_the_task_and_its_attempt(
    home: StateDir, caplog: pytest.LogCaptureFixture, error: Exception | None, event: str
):
    caplog.set_level(logging.INFO, logger=runners.__name__)

    def run(work: RunningTask) -> dict[str, Any]:
        if error:
            raise error
        return {}

    server = Server()
    told(server, home, run)
    about = {"task": server.guid, "type": "TEST", "attempt": 1}
    members = {record.getMessage(): getattr(record, "members", {}) for record in caplog.records}
    for line in ("task begins", event):
        assert {key: members[line][key] for key in about} == about


def test_a_server_that_is_away_or_stumbles_is_asked_again(home: StateDir):
    server = Server()
    server.errors = {
        "open": [Unavailable("away")],
        "order": [Unavailable("away"), HaulbackError("a defect")],
        "results": [HaulbackError("a defect"), Unavailable("away")],
        "state": [Unavailable("away")],
    }
    assert told(server, home, lambda work: {}) == ["FINISHED"]


def test_a_task_whose_order_cannot_be_made_fails_at_once(home: StateDir):
    server = Server()
    server.errors = {"order": [Conflict("its hypervisor is gone")]}
    assert told(server, home, lambda work: {}) == ["FAILED"]


class Panic(BaseException):
    """A panic of a library in Rust."""


def test_a_task_whose_library_panics_fails_at_once(home: StateDir):
    server = Server()

    def run(work: RunningTask) -> dict[str, Any]:
        raise Panic("called `unwrap()` on an `Err` value")

    assert told(server, home, run) == ["FAILED"]
    assert "a library failed: called `unwrap()`" in server.reason


def test_finished_work_is_kept_for_the_next_session_when_nobody_hears_of_it(home: StateDir):
    server, heard = Server(), threading.Event()
    server.errors = {"results": [HaulbackError("a defect")] * 50}

    def run(work: RunningTask) -> dict[str, Any]:
        heard.set()
        return {"stored": 7}

    runner = runs(server, home, run)
    assert heard.wait(20)
    while len(server.errors["results"]) > 44:
        heard.wait(0.01)
    ends(runner)
    assert server.told == []
    [entry] = home.journal.entries()
    assert entry["results"]["stored"] == 7


def test_a_journal_that_cannot_be_written_loses_no_work(
    home: StateDir, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OutOfSpace("full")

    monkeypatch.setattr(home.journal, "write", full)
    assert told(Server(), home, lambda work: {}) == ["FINISHED"]


def test_names_that_cannot_be_sent_are_sent_escaped(
    home: StateDir, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL)  # parallel test runs cannot send such a log either

    def run(work: RunningTask) -> dict[str, Any]:
        work.log("bad\udcff")
        raise Conflict("bad\udcff\0")

    server = Server()
    assert told(server, home, run) == ["FAILED"]


@pytest.mark.parametrize(
    ("error", "state"),
    [(Cancelled("x"), ["CANCELLED"]), (Conflict("x"), ["FAILED"]), (ValueError("x"), ["FAILED"])],
)
def test_what_went_wrong_is_told_after_cleaning_up(
    home: StateDir, error: Exception, state: list[str]
):
    def run(work: RunningTask) -> dict[str, Any]:
        (work.staging.folder / "half").write_bytes(b"x")
        raise error

    assert told(Server(), home, run) == state


def test_the_log_names_the_start_of_an_attempt_and_the_causes_of_its_error(home: StateDir):
    def run(work: RunningTask) -> dict[str, Any]:
        try:
            raise OSError("Input/output\nerror\n\nDebug source:\nGeneric {\n")
        except OSError as error:
            raise Damaged("pack 12 is damaged") from error

    server = Server()
    assert told(server, home, run) == ["FAILED"]
    assert server.lines[0].startswith("attempt 1 starts on ")
    assert server.lines[-1] == "caused by OSError: Input/output error"


@pytest.mark.parametrize(
    "form",
    [
        "a/b+c=\nd'e ü",
        "a/b+c=\\nd'e ü",
        "a/b+c=\\nd'e \\u00fc",
        "a%2Fb%2Bc%3D%0Ad%27e%20%C3%BC",
        "a%2fb%2bc%3d%0ad%27e%20%c3%bc",
        "a/b%2Bc%3D%0Ad%27e%20%C3%BC",
        "a%2Fb%2Bc%3D%0Ad%27e+%C3%BC",
    ],
)
def test_no_escaped_form_of_a_secret_stands_in_the_log(form: str):
    progress = TaskProgress("1", Server())  # type: ignore[arg-type]
    progress.hide(["a/b+c=\nd'e ü", "sig%2Bned"])
    assert progress.cleaned(f"?sig={form}&x or sig+ned") == "?sig=***&x or ***"


def test_no_secret_stands_in_the_log_or_in_the_reason(home: StateDir):
    def run(work: RunningTask) -> dict[str, Any]:
        work.progress.hide(["s3cretkey", "abc"])
        work.log("abc: refused with s3cretkey at http://me:word@host/")
        raise Conflict("s3cretkey is wrong")

    server = Server()
    assert told(server, home, run) == ["FAILED"]
    assert server.lines[1] == "abc: refused with *** at http://me:***@host/"
    assert server.reason == "*** is wrong"


def test_a_task_that_is_still_worked_on_is_not_taken_again(home: StateDir):
    server, begun, over = Server(), threading.Event(), threading.Event()

    def run(work: RunningTask) -> dict[str, Any]:
        if work.attempt.endswith("-2"):
            return {}
        begun.set()
        try:
            while True:
                work.progress.meter(1)
                over.wait(0.01)
        except Fenced:
            server.offered = [server.guid]
            raise

    runner = runs(server, home, run)
    assert begun.wait(20)
    server.offered = [server.guid]
    assert server.ended.wait(20)
    ends(runner)
    assert server.told == ["FINISHED"]
    assert server.number == 2


def test_stopping_ends_work_that_has_hardly_begun(home: StateDir):
    server = Server()
    runner: list[Runner] = []
    begun = threading.Event()

    def stop() -> None:
        begun.set()
        runner[0].stop()

    server.on_order = stop

    def run(work: RunningTask) -> dict[str, Any]:
        while True:
            work.progress.meter(1)

    server.offered = []
    runner.append(runs(server, home, run))
    server.offered = [server.guid]
    assert begun.wait(20)
    ends(runner[0])
    assert server.told == []


def test_a_node_whose_session_is_over_says_so(home: StateDir):
    server = Server()
    server.errors = {"offers": [Unauthenticated("newer")]}
    runner = Runner(server, home, {})  # type: ignore[arg-type]
    with pytest.raises(Fenced, match="another process"):
        runner.run()


class Stopping(Server):
    """A server that ends a request for tasks with an error once the node stops."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.asked, self.stopped = error, threading.Event(), threading.Event()

    def offers(self) -> list[Offer]:
        self.asked.set()
        assert self.stopped.wait(20)
        raise self.error


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("the client was closed")])
def test_a_request_that_fails_because_the_node_stops_is_not_logged(
    home: StateDir, caplog: pytest.LogCaptureFixture, error: Exception
):
    caplog.set_level("INFO")
    server = Stopping(error)
    runner = Runner(server, home, {})  # type: ignore[arg-type]
    poll = threading.Thread(target=runner._poll_tasks)
    poll.start()
    assert server.asked.wait(20)
    runner.stop()
    server.stopped.set()
    poll.join(20)
    assert not poll.is_alive()
    assert caplog.messages == []


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a defect")])
def test_a_request_that_fails_while_the_node_runs_is_logged(
    home: StateDir, caplog: pytest.LogCaptureFixture, error: Exception
):
    server = Server()
    server.errors = {"offers": [error]}
    assert told(server, home, lambda work: {}) == ["FINISHED"]
    [line] = [line for line in caplog.messages if line.endswith("trying again")]
    assert line.startswith(("away", "queued tasks cannot be fetched"))


class Silent(MemoryHypervisor):
    """A platform that is unreachable for several sweeps."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.swept = times, threading.Event()

    def sweep(self, alive: Set[str]) -> list[str]:
        if self.times:
            self.times -= 1
            raise Unavailable("away")
        self.swept.set()
        return super().sweep(alive)


def test_a_platform_that_fell_silent_is_swept_once_it_is_back(
    home: StateDir, monkeypatch: pytest.MonkeyPatch
):
    platform = Silent(3)
    monkeypatch.setitem(registry.DRIVERS, "image-folder", lambda _: platform)
    record = Hypervisor(guid=new_guid(), name="hv", driver="image-folder", config={})

    def run(work: RunningTask) -> dict[str, Any]:
        work.machines.open(record)
        raise Unavailable("away")

    server = Server()
    runner = runs(server, home, run)
    assert platform.swept.wait(20)
    ends(runner)
    assert server.told == ["FAILED"]
