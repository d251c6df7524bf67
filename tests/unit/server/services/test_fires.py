"""Schedules fire: each due time once, with the tasks of the ordinary planner."""

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.events import EventKind
from haulback.server.http.configuration import RECORD_KINDS
from haulback.server.services import configuration, fires, schedules
from haulback.server.services.configuration import SentRecord
from haulback.server.store import event_tables, tables
from haulback.server.store import fires as fire_store
from haulback.wire import read
from tests.unit.server.conftest import START, House

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MIDNIGHT = START // DAY * DAY


class Site:
    """A house with a backup policy of all machines, a rule, and schedules on demand."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.policy = self.add(
            "vm-backup",
            name="gold",
            vms=[{"guid": machine.guid} for machine in house.entities],
            rules=[
                {
                    "name": "nightly",
                    "ruleBackupDestinations": [
                        {"backupDestination": {"guid": house.destination.guid}}
                    ],
                }
            ],
        )
        with house.app.store.read() as sql:
            known = configuration.SqlCatalogue(sql).records
            self.rule = known.of_kind("rule", self.policy)[0].guid

    def add(self, kind: str, **body) -> str:
        return self._sent(configuration.add, kind, body)

    def change(self, kind: str, guid: str, **body) -> None:
        def change(app, who, sent, show):
            return configuration.change(app, who, guid, sent, show)

        self._sent(change, kind, body)

    def _sent(self, call, kind: str, body) -> str:
        wanted = RECORD_KINDS[kind]
        encoded = msgspec.json.encode(body)
        sent = SentRecord(wanted, lambda: read(body, wanted.struct, ""), encoded)
        return call(self.house.app, self.house.user, sent, lambda record, _: record.guid)

    def schedule(self, name: str = "at night", **body) -> str:
        body = {"hour": 22 * HOUR, "rules": [{"guid": self.rule}], **body}
        return self.add("schedule", name=name, **body)

    def at(self, moment: int) -> None:
        """Move the clock and run a tick of the scheduler."""
        self.house.clock.now = moment
        fires.run_due(self.house.app)

    def fires(self, schedule: str) -> list[fire_store.Fire]:
        """The fires of a schedule, the oldest first."""
        with self.house.app.store.read() as sql:
            return fire_store.past(sql, schedule, 1000)[::-1]

    def states(self, schedule: str) -> list[str]:
        return [fire.state for fire in self.fires(schedule)]

    def tasks(self, type_: str = "EXPORT") -> list:
        table = tables.task.c
        with self.house.app.store.read() as sql:
            query = sa.select(table.guid, table.refs, table.run, table.window_end, table.state)
            return list(sql.execute(query.where(table.type == type_)))

    def events(self, kind: EventKind) -> list[str]:
        table = event_tables.event.c
        with self.house.app.store.read() as sql:
            return list(sql.scalars(sa.select(table.text).where(table.kind == kind.value)))

    def times(self, schedule: str) -> dict:
        with self.house.app.store.read() as sql:
            return schedules.times(sql, schedule)


@pytest.fixture
def site(house: House) -> Site:
    return Site(house)


def test_a_schedule_fires_its_rule_for_every_machine_of_the_policy(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    assert site.times(schedule) == {"paused": False, "nextRun": due}
    site.at(due - 1)
    assert site.fires(schedule) == []
    site.at(due + 500)
    assert site.states(schedule) == ["RUNNING"]
    assert site.times(schedule) == {
        "paused": False, "lastRun": due + 500, "nextRun": due + DAY,
    }  # fmt: skip
    made = site.tasks()
    assert len(made) == 3
    assert len({task.run for task in made}) == 1
    for task in made:
        refs = msgspec.json.decode(task.refs)
        assert refs["schedule"]["guid"] == schedule
        assert refs["rule"]["guid"] == site.rule
        assert refs["originEntity"]["type"]["name"] == "SCHEDULE"
        assert task.window_end == due + 6 * HOUR
    site.at(due + 1500)
    assert len(site.fires(schedule)) == 1


def test_a_fire_is_done_when_its_tasks_have_ended_and_the_run_of_the_policy_is_an_event(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due)
    node = site.house.node()
    for task in site.tasks():
        site.house.take(node, task.guid)
        site.house.fail(node, task.guid)
    site.at(due + MINUTE)
    assert site.states(schedule) == ["DONE"]
    [text] = site.events(EventKind.RUN_ENDED)
    assert "gold" in text
    assert "3 failed" in text
