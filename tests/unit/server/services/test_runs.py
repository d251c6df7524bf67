"""Runs of policies: their events, and the repetition of failed work."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from haulback.contract.events import EventRecord
from haulback.errors import Conflict, NotFound
from haulback.ids import new_guid
from haulback.server.caller import Node
from haulback.server.queries import EventQuery
from haulback.server.scope import Scope
from haulback.server.services import events, fires, runs
from haulback.server.store import schedule_tables
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from tests.unit.server.conftest import EXPORTED, House
from tests.unit.server.services.test_fires import DAY, HOUR, MIDNIGHT, Site


@pytest.fixture
def site(house: House) -> Site:
    return Site(house)


@pytest.fixture
def node(house: House) -> Node:
    return house.node()


def told(site: Site, *kinds: str) -> list[EventRecord]:
    return events.page(site.house.app, EventQuery(after=0, kinds=list(kinds)))


def back_up(site: Site, node: Node, export: Task | str, *, good: bool = True) -> None:
    """Run the EXPORT of a machine and its STORE, which fails unless `good`."""
    house = site.house
    house.take(node, export)
    house.finish(node, export, **EXPORTED)
    store = house.follower(house.row(export))
    house.take(node, store)
    house.finish(node, store, stored=5) if good else house.fail(node, store)


def night(site: Site, node: Node, day: int, *failing: str) -> str:
    """The run of a night; the backups of some machines fail."""
    site.at(MIDNIGHT + day * DAY + 22 * HOUR + 1)
    for guid, *_ in [row for row in site.tasks() if row.state == "QUEUED"]:
        task = site.house.row(guid)
        back_up(site, node, guid, good=task.refs["protectedEntity"].name not in failing)
    fires.end_finished(site.house.app)
    return str(told(site, "RUN_ENDED")[-1].data["run"])


def names(tasks: list[Task]) -> list[str]:
    return sorted(task.refs["protectedEntity"].name for task in tasks)


def test_a_run_is_told_when_it_starts_and_ends_and_its_first_says_so(
    site: Site, node: Node
) -> None:
    site.schedule()
    night(site, node, 1)
    night(site, node, 2)
    started, ended = told(site, "RUN_STARTED"), told(site, "RUN_ENDED")
    assert [event.data["first"] for event in ended] == [True, False]
    assert [event.data["run"] for event in started] == [event.data["run"] for event in ended]
    assert {event.policy for event in (*started, *ended)} == {site.policy}
    assert ended[0].data["states"] == {"FINISHED": 6}


def test_ends_of_tasks_name_the_policy_of_their_rule(site: Site, node: Node) -> None:
    site.schedule()
    run = night(site, node, 1)
    ends = [event for event in told(site, "TASK_ENDED") if event.data["type"] == "EXPORT"]
    assert {(event.policy, event.data["run"]) for event in ends} == {(site.policy, run)}


def test_exactly_what_failed_in_a_run_is_repeated(site: Site, node: Node) -> None:
    site.schedule(backupType="INCREMENTAL")
    run = night(site, node, 1, "db", "web")
    app, who = site.house.app, site.house.user
    made = runs.retry(app, who, run)
    assert names(made) == ["db", "web"]
    rows = [site.house.row(task) for task in made]
    assert {(row.ref("rule"), row.backup_type) for row in rows} == {(site.rule, "INCREMENTAL")}
    site.house.refuses(Conflict, runs.retry, app, who, run)
    by_name = {row.refs["protectedEntity"].name: row for row in rows}
    back_up(site, node, by_name["db"])
    back_up(site, node, by_name["web"], good=False)
    again = runs.retry(app, who, run)
    assert names(again) == ["web"]
    back_up(site, node, again[0])
    site.house.refuses(Conflict, runs.retry, app, who, run)


def test_a_run_without_failures_and_an_unknown_run_are_refused(site: Site, node: Node) -> None:
    site.schedule()
    run, app, who = night(site, node, 1), site.house.app, site.house.user
    assert "has no failed tasks to repeat" in site.house.refuses(
        Conflict, runs.retry, app, who, run
    )
    site.house.refuses(NotFound, runs.retry, app, who, new_guid())
    restricted = who.__class__(who.guid, who.name, who.roles, Scope(frozenset({"pa"})))
    site.house.refuses(NotFound, runs.retry, app, restricted, run)


def test_a_machine_that_cannot_be_planned_stops_no_other(site: Site, node: Node) -> None:
    site.schedule()
    run = night(site, node, 1, "db", "web")
    web = next(machine for machine in site.house.entities if machine.name == "web")
    gone = [machine for machine in site.house.entities if machine.guid != web.guid]
    with site.house.app.store.write() as sql:
        ledger = SqlLedger(sql, site.house.clock.now)
        since = site.house.clock.now
        ledger.inventory.scanned(site.house.hypervisor.guid, gone, complete_since=since)
    made = runs.retry(site.house.app, site.house.user, run)
    assert "db" in names(made)


def test_thresholds_count_once_all_machines_of_a_fire_are_planned(site: Site, node: Node) -> None:
    """A share of the machines that were planned first does not decide the result of the run."""
    site.change("vm-backup", site.policy, name="gold", failRemainingBackupTasksExportThreshold=30)
    schedule = site.schedule()
    site.at(MIDNIGHT + 22 * HOUR)
    table = schedule_tables.fire
    with site.house.app.store.write() as sql:
        sql.execute(sa.update(table).values(state="PLANNING"))
    first, *others = [guid for guid, *_ in site.tasks()]
    site.house.take(node, first)
    site.house.fail(node, first)
    assert [site.house.state(guid) for guid in others] == ["QUEUED"] * 2
    fires.plan_piece(site.house.app)
    assert site.states(schedule) == ["RUNNING"]
    assert [site.house.state(guid) for guid in others] == ["FAILED"] * 2
    assert "THRESHOLD: 1 of 3" in (site.house.row(others[0]).status_info or "")
