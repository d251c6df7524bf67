"""Numbers of events, and the hub of a server's readers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.contract.events import Event, EventKind, EventRecord
from haulback.contract.task_states import State
from haulback.server.queries import EventQuery
from haulback.server.scope import Scope
from haulback.server.services import event_numbers
from haulback.server.services import events as service
from haulback.server.services import tasks as task_service
from haulback.server.store import epoch, events
from haulback.server.store.engine import open_store
from haulback.server.store.event_tables import event as table
from haulback.units import DAY_MS
from tests.unit.server.conftest import House


def said(house: House, text: str, **more: object) -> Event:
    made = Event(
        kind=EventKind.NODE_DOWN,
        time=house.clock.now,
        subject=house.entities[0].guid,
        subject_name="db",
        text=text,
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def tell(house: House, *texts: str, **more: object) -> None:
    with house.app.store.write() as sql:
        events.add_many(sql, [said(house, text, **more) for text in texts])


def listed(house: House, **wanted: object) -> list[EventRecord]:
    return service.page(house.app, EventQuery(**{"after": 0, **wanted}))  # type: ignore[arg-type]


def test_an_event_that_commits_late_gets_a_later_number(cluster_url: str, house: House) -> None:
    store = open_store(cluster_url)
    with store.write() as slow:
        events.add(slow, said(house, "inserted first"))
        with store.write() as quick:
            events.add(quick, said(house, "committed first"))
        with store.write() as numbers:
            first = [event.text for event in events.number_some(numbers)]
    with store.write() as numbers:
        second = events.number_some(numbers)
    store.close()
    assert first == ["committed first"]
    assert [(event.number, event.text) for event in second] == [(2, "inserted first")]


def test_numbers_have_no_gap_when_two_servers_number_at_once(
    cluster_url: str, house: House
) -> None:
    store, seen = open_store(cluster_url), []

    def number() -> None:
        for _ in range(40):
            with store.write() as sql:
                seen.extend(event.number for event in events.number_some(sql))

    def write() -> None:
        for nth in range(60):
            with store.write() as sql:
                events.add(sql, said(house, str(nth)))

    threads = [threading.Thread(target=work) for work in (number, write, number, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    number()
    store.close()
    assert sorted(seen) == list(range(1, 121))


def test_events_after_a_restore_lie_behind_those_that_readers_know(house: House) -> None:
    tell(house, "before")
    known = listed(house)[-1].number
    with house.app.store.write() as sql:
        events.number_some(sql)
        epoch.begin(sql)
    tell(house, "after")
    assert [event.text for event in listed(house, after=known + epoch.EPOCH_EVENTS - 1)] == [
        "after"
    ]


def test_an_event_of_a_transaction_that_failed_is_never_seen(house: House) -> None:
    try:
        with house.app.store.write() as sql:
            events.add(sql, said(house, "undone"))
            raise RuntimeError
    except RuntimeError:
        tell(house, "done")
    assert [(event.number, event.text) for event in listed(house)] == [(1, "done")]


def test_an_event_that_happens_once_is_stored_once(house: House) -> None:
    tell(house, "first", once="k")
    tell(house, "again", once="k")
    assert [event.text for event in listed(house)] == ["first"]


def test_the_end_of_a_task_and_of_its_workflow_are_events(house: House) -> None:
    node = house.node()
    before = listed(house)[-1].number
    store = house.exported(node)
    house.take(node, store)
    house.fail(node, store)
    ends = listed(house, after=before)
    kinds = [(e.kind.name, e.data["type"], e.data["state"], e.subject.name) for e in ends]
    assert kinds[:2] == [
        ("TASK_ENDED", "EXPORT", "FINISHED", "db"),
        ("TASK_ENDED", "STORE", "FAILED", "db"),
    ]
    assert ("WORKFLOW_ENDED", "EXPORT", "FAILED", "db") in kinds
    assert "it broke" in ends[1].text


def test_a_cancelled_plan_is_one_workflow_that_ended(house: House) -> None:
    [export] = house.export()
    task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, None)
    ends = [event for event in listed(house) if event.kind.name == "WORKFLOW_ENDED"]
    assert [(end.data["state"], end.subject.guid) for end in ends] == [("CANCELLED", export.guid)]


@pytest.mark.parametrize("together", [1, 2, 500])
def test_the_end_of_a_workflow_is_numbered_once_and_after_the_ends_of_its_tasks(
    house: House, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    node = house.node()
    before = listed(house)[-1].number
    plans = [house.exported(node, protectedEntities=[{"guid": e.guid}]) for e in house.entities]
    for store in plans:
        house.take(node, store)
        house.finish(node, store, backup="b")
    monkeypatch.setattr(events, "MOST", together)
    for _ in event_numbers.number_new(house.app.store, house.clock.now):
        pass
    monkeypatch.undo()
    ends = [(event.kind.name, event.data["workflow"]) for event in listed(house, after=before)]
    for store in plans:
        mine = [kind for kind, workflow in ends if workflow == store.workflow]
        assert mine == ["TASK_ENDED", "TASK_ENDED", "WORKFLOW_ENDED"]
    assert [event.number for event in listed(house, after=before)] == list(
        range(before + 1, before + len(ends) + 1)
    )


def test_a_failure_that_is_retried_says_so(house: House) -> None:
    node, [export] = house.node(), house.export(retryCount=1)
    house.take(node, export)
    house.fail(node, export)
    [end] = [event for event in listed(house) if event.subject.guid == export.guid]
    assert end.data["retried"] is True
    ended = [e.subject.guid for e in listed(house) if e.kind.name == "WORKFLOW_ENDED"]
    assert export.guid not in ended


def test_the_time_of_the_last_change_is_not_before_the_last_end(house: House) -> None:
    node = house.node()
    house.clock.now += 5000
    store = house.exported(node)
    house.take(node, store)
    house.clock.now += 5000
    house.finish(node, store)
    newest = max(e.time for e in listed(house) if e.kind.name == "TASK_ENDED")
    assert task_service.last_change(house.app, Scope(), None) == newest


def test_a_restricted_reader_sees_the_events_of_its_projects(house: House) -> None:
    tell(house, "mine", project="a")
    tell(house, "theirs", project="b")
    tell(house, "shared")
    scope = Scope(frozenset({"a"}))
    house.app.event_hub.advance()
    assert [event.text for event in listed(house, scope=scope)] == ["mine"]
    part = service.next_part(house.app, EventQuery(after=0, scope=scope))
    assert (b"mine" in part.data, b"theirs" in part.data, part.number) == (True, False, 3)


def test_a_reader_of_old_events_reads_the_database_until_memory_has_the_rest(house: House) -> None:
    house.app.event_hub.advance()
    for at in range(0, 700, 100):
        tell(house, *(f"n{nth}" for nth in range(at, at + 100)))
    tell(house, "last")
    house.app.event_hub.advance()
    wanted, texts, in_memory = EventQuery(after=0), b"", []
    while wanted.after != 701:
        in_memory.append(service.is_in_memory(house.app, wanted.after or 0))
        part = service.next_part(house.app, wanted)
        texts, wanted.after = texts + part.data, part.number
    assert in_memory == [False, True]
    assert texts.count(b"\nevent: ") == 701
    assert [int(x.split(b"\n")[0]) for x in texts.split(b"id: ")[1:]] == list(range(1, 702))


def test_a_filter_skips_events_without_losing_the_position(house: House) -> None:
    house.app.event_hub.advance()
    tell(house, "a")
    tell(house, "up", kind=EventKind.NODE_UP)
    house.app.event_hub.advance()
    part = service.next_part(house.app, EventQuery(after=0, kinds=["NODE_UP"]))
    assert (part.data.count(b"event: "), part.number) == (1, 2)


def test_events_are_kept_for_90_days_and_a_late_reader_is_told(house: House) -> None:
    tell(house, *(f"old {nth}" for nth in range(600)))
    assert len(listed(house, size=1000)) == 600
    house.clock.now += 91 * DAY_MS
    tell(house, "new")
    assert [event.text for event in listed(house, after=600)] == ["new"]
    counts = [service.forget(house.app) for _ in range(3)]
    with house.app.store.read() as sql:
        left = sql.scalar(sa.select(sa.func.count()).select_from(table))
    assert (counts, left) == ([500, 100, 0], 1)
    assert service.is_incomplete(house.app, 10)
    assert not service.is_incomplete(house.app, 600)
    assert service.is_incomplete(house.app, 9000), "a number of a lost database"


def test_a_defect_in_a_consequence_keeps_no_event_from_its_number(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(sql: sa.Connection, *_: object) -> None:
        sql.execute(sa.delete(table))
        raise KeyError("workflow")

    monkeypatch.setattr(event_numbers.workflow_ends, "record", broken)
    tell(house, "a", "b")
    assert [event.text for event in listed(house)] == ["a", "b"]
    assert "the consequences of 2 numbered events failed" in caplog.text


def test_a_page_merges_kinds_and_projects_in_the_order_of_numbers(house: House) -> None:
    for nth in range(30):
        kind = (EventKind.NODE_UP, EventKind.NODE_DOWN, EventKind.KEY_TROUBLE)[nth % 3]
        tell(house, str(nth), kind=kind, project=("a", "b", "c", None)[nth % 4])
    both, scope = ["NODE_UP", "NODE_DOWN"], Scope(frozenset({"a", "b"}))

    def texts(**wanted: object) -> list[int]:
        return [int(event.text) for event in listed(house, **wanted)]

    kinds = [nth for nth in range(30) if nth % 3 < 2]
    mine = [nth for nth in range(30) if nth % 4 < 2]
    assert texts(kinds=both) == kinds
    assert texts(scope=scope) == mine
    assert texts(scope=scope, kinds=both) == [nth for nth in kinds if nth in mine]
    assert texts(after=None, kinds=both, size=5) == kinds[::-1][:5]
    assert texts(after=None, scope=scope, size=3, before=20) == [17, 16, 13]
    assert texts(scope=Scope(frozenset())) == []


def test_a_long_history_is_read_by_its_indexes(house: House) -> None:
    if not house.app.store.is_sqlite:
        return
    with house.app.store.read() as sql:
        for wanted, index in (
            (EventQuery(after=5), "event_number"),
            (EventQuery(kinds=["NODE_UP", "NODE_DOWN"]), "event_kind"),
            (EventQuery(scope=Scope(frozenset({"a", "b"}))), "event_project"),
            (EventQuery(subject="s"), "event_subject"),
            (EventQuery(policy="p", kinds=["RUN_ENDED"]), "event_policy"),
        ):
            for plan in explained(sql, wanted):
                assert index in plan, (wanted, plan)
                assert "TEMP B-TREE" not in plan, (wanted, plan)


def explained(sql: sa.Connection, wanted: EventQuery) -> list[str]:
    """The plans of SQLite for the queries of a page."""
    plans = []

    def explain(*call: Any) -> None:
        text, values = call[2], call[3]
        if text.startswith("SELECT event."):
            cursor = call[0].connection.driver_connection.execute(
                f"EXPLAIN QUERY PLAN {text}", values
            )
            plans.append(" ".join(row[3] for row in cursor))

    sa.event.listen(sql, "before_cursor_execute", explain)
    events.page(sql, wanted)
    sa.event.remove(sql, "before_cursor_execute", explain)
    return plans
