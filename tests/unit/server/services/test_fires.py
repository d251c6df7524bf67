"""Schedules fire: each due time once, with the tasks of the ordinary planner."""

import uuid

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.events import EventKind
from haulback.errors import Malformed
from haulback.inventory import managers
from haulback.kinds import import_machine
from haulback.server.http.configuration import RECORD_KINDS
from haulback.server.services import configuration, fires, maintenance, schedules
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.forecast import forecast
from haulback.server.store import event_tables, rows, schedule_tables, tables
from haulback.server.store import fires as fire_store
from haulback.server.store.catalogue import SqlCatalogue
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
        sent = RequestRecord(wanted, lambda: read(body, wanted.struct, ""), encoded)
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


def test_a_fire_reads_the_host_of_its_machines_and_the_manager_once(site):
    asked: list[tuple[str, str]] = []
    for engine in {site.house.app.store.engine, site.house.app.store._reader}:
        sa.event.listen(engine, "before_cursor_execute", lambda *c: asked.append((c[2], str(c[3]))))
    site.schedule()
    site.at(MIDNIGHT + 22 * HOUR)
    assert len(site.tasks()) == len(site.house.entities) == 3
    assert len([text for text, _ in asked if "FROM hypervisor" in text]) == 1
    manager = managers.manager_of(site.house.hypervisor)
    assert len([text for text, given in asked if "FROM record" in text and manager in given]) == 1


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


@pytest.mark.parametrize(
    ("away", "window", "expected"),
    [
        (3 * HOUR, 6 * HOUR, ["MISSED", "MISSED", "MISSED", "RUNNING"]),
        (3 * HOUR + 30 * MINUTE, 20 * MINUTE, ["MISSED", "MISSED", "MISSED", "MISSED"]),
    ],
)
def test_after_an_absence_the_newest_time_inside_its_window_runs(site, away, window, expected):
    schedule = site.schedule(
        hour=None, executionType="INTERVAL", startWindowLength=window,
        interval={"startHour": 0, "endHour": DAY, "frequency": HOUR},
    )  # fmt: skip
    first = site.times(schedule)["nextRun"]
    site.at(first + away)
    assert site.states(schedule) == expected
    assert len(site.events(EventKind.FIRE_MISSED)) == expected.count("MISSED")
    assert site.times(schedule)["nextRun"] == first + 4 * HOUR


def test_a_machine_has_one_pending_plan_of_a_rule(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    for day in range(2):
        site.at(due + day * DAY)
    [first, second] = site.fires(schedule)
    assert (first.planned, first.skipped) == (3, 0)
    assert (second.planned, second.skipped) == (0, 3)
    assert second.state == "DONE" or second.state == "RUNNING"
    _, history = schedules.history(site.house.app, schedule, site.house.user.scope, 1)
    assert sorted(skip.name for skip in history[0].skips) == ["db", "mail", "web"]
    assert all("has not ended" in skip.reason for skip in history[0].skips)
    assert len(site.events(EventKind.FIRE_SKIPPED)) == 1


def test_a_changed_time_is_a_new_generation_that_fires_only_ahead(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due)
    site.house.clock.now = due + HOUR
    site.change("schedule", schedule, name="at night", hour=21 * HOUR,
                rules=[{"guid": site.rule}])  # fmt: skip
    site.at(due + 2 * HOUR)
    assert [fire.generation for fire in site.fires(schedule)] == [1]
    assert site.times(schedule)["nextRun"] == due + DAY - HOUR
    site.at(due + DAY - HOUR)
    assert [fire.generation for fire in site.fires(schedule)] == [1, 2]


def test_a_change_of_other_members_is_no_new_generation(site):
    schedule = site.schedule()
    site.change("schedule", schedule, name="other", hour=22 * HOUR, startWindowLength=HOUR,
                rules=[{"guid": site.rule}])  # fmt: skip
    site.at(MIDNIGHT + 22 * HOUR)
    [fire] = site.fires(schedule)
    assert (fire.generation, fire.window_end - fire.due_at) == (1, HOUR)


@pytest.mark.parametrize("inactive", ["schedule", "rule", "vm-backup"])
def test_what_is_not_active_plans_nothing_and_says_so(site, inactive):
    schedule = site.schedule()
    if inactive == "schedule":
        site.change("schedule", schedule, name="at night", hour=22 * HOUR, active=False,
                    rules=[{"guid": site.rule}])  # fmt: skip
    elif inactive == "rule":
        site.change("rule", site.rule, name="nightly", active=False)
    else:
        site.change("vm-backup", site.policy, name="gold", active=False)
    site.at(MIDNIGHT + 22 * HOUR)
    site.at(MIDNIGHT + 22 * HOUR + MINUTE)
    assert site.tasks() == []
    _, [shown] = schedules.history(site.house.app, schedule, site.house.user.scope, 5)
    reasons = [shown.fire.reason or "", *(skip.reason for skip in shown.skips)]
    assert any("is not active" in reason for reason in reasons)


def test_a_machine_that_went_away_is_left_out_with_a_reason(site):
    schedule = site.schedule()
    with site.house.app.store.write() as sql:
        gone = site.house.entities[0].guid
        table = tables.entity
        sql.execute(sa.update(table).where(table.c.guid == gone).values(present=False))
    site.at(MIDNIGHT + 22 * HOUR)
    [fire] = site.fires(schedule)
    assert (fire.planned, fire.skipped) == (2, 1)


def test_a_paused_schedule_fires_nothing_until_it_is_resumed(site):
    schedule = site.schedule()
    app, user = site.house.app, site.house.user
    schedules.pause(app, user, schedule)
    site.at(MIDNIGHT + 23 * HOUR)
    assert site.fires(schedule) == []
    assert site.times(schedule) == {"paused": True}
    resumed, refused = schedules.resume_all(app, user)
    assert ([entry.guid for entry in resumed], refused) == ([schedule], [])
    site.at(MIDNIGHT + DAY)
    assert site.fires(schedule) == []
    assert site.times(schedule)["nextRun"] == MIDNIGHT + DAY + 22 * HOUR


def test_a_schedule_runs_at_once_besides_its_times(site):
    schedule = site.schedule()
    shown = schedules.run(site.house.app, site.house.user, schedule)
    assert shown.fire.manual
    site.at(START + 1)
    assert len(site.tasks()) == 3
    assert site.times(schedule)["nextRun"] == MIDNIGHT + 22 * HOUR


def test_a_removed_schedule_takes_its_fires_along(site):
    schedule = site.schedule()
    site.at(MIDNIGHT + 22 * HOUR)
    configuration.remove(site.house.app, site.house.user, RECORD_KINDS["schedule"], schedule)
    assert site.fires(schedule) == []
    site.at(MIDNIGHT + 22 * HOUR + DAY)


def set_back(site: Site, moment: int) -> None:
    site.house.clock.drift = moment - site.house.clock.now
    maintenance.follow_the_clock(site.house.app)


@pytest.mark.parametrize("step", [MINUTE, HOUR, DAY])
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_fire_that_lies_ahead_again_is_voided_and_fires_when_it_comes(site, step, is_begun):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR + DAY
    site.at(due - DAY + 12 * HOUR)
    site.at(due + 10_000)
    if is_begun:
        site.house.take(site.house.node(), site.tasks()[0].guid)
    assert site.states(schedule)[-1] == "RUNNING"
    set_back(site, due - step - 20_000)
    site.at(site.house.clock.now)
    assert [fire.state for fire in site.fires(schedule) if fire.due_at == due] == ["VOIDED"]
    assert len(site.events(EventKind.FIRE_VOIDED)) == 1
    assert {task.state for task in site.tasks()} <= {"CANCELLED", "RUNNING"}
    site.at(due - 1)
    assert len([fire for fire in site.fires(schedule) if fire.due_at == due]) == 1
    site.at(due + 1)
    states = sorted(fire.state for fire in site.fires(schedule) if fire.due_at == due)
    assert states == ["RUNNING", "VOIDED"]
    queued = [task for task in site.tasks() if task.state == "QUEUED"]
    assert len(queued) == (2 if is_begun else 3)


@pytest.mark.parametrize("step", [MINUTE, HOUR, DAY])
def test_a_clock_that_is_set_ahead_runs_the_newest_time_once(site, step):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due - step + 30_000)
    set_back(site, due + 30_000)
    site.at(due + 30_000)
    site.at(due + 31_000)
    assert len([fire for fire in site.fires(schedule) if fire.due_at == due]) == 1


def test_a_fire_that_an_absence_seemed_to_miss_is_voided_with_the_clock(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due - HOUR)
    site.at(due + DAY - HOUR)  # a day too late: the window of the night has closed
    assert site.states(schedule) == ["MISSED"]
    set_back(site, due - MINUTE)
    site.at(due)
    assert site.states(schedule) == ["VOIDED", "RUNNING"] or site.states(schedule) == [
        "RUNNING", "VOIDED",
    ]  # fmt: skip


def test_a_server_that_starts_with_an_earlier_clock_voids_as_well(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due)
    site.house.clock.now = due - HOUR
    maintenance.start(site.house.app)
    assert "RUNNING" not in site.states(schedule)
    site.at(due)
    assert sorted(site.states(schedule)) == ["RUNNING", "VOIDED"]


def test_the_forecast_shows_what_runs_when_with_the_duration_of_earlier_nights(site):
    schedule = site.schedule()
    due = MIDNIGHT + 22 * HOUR
    site.at(due)
    node = site.house.node()
    for task in site.tasks():
        site.house.take(node, task.guid)
        site.house.fail(node, task.guid)
    site.at(due + 20 * MINUTE)
    scope = site.house.user.scope
    entries, is_cut = forecast(site.house.app, scope, 7, 1000)
    of_it = [entry.fire for entry in entries if entry.schedule.guid == schedule]
    assert [fire.due.at for fire in of_it] == [due + day * DAY for day in range(1, 8)]
    assert {(fire.duration, fire.fits) for fire in of_it} == {(20 * MINUTE, True)}
    assert not is_cut
    assert forecast(site.house.app, scope, 7, 2)[1]
    schedules.pause(site.house.app, site.house.user, schedule)
    assert forecast(site.house.app, scope, 7, 1000) == ([], False)


def test_a_snapshot_schedule_takes_snapshots_and_removes_expired_ones(site):
    disks = '[{"name":"root","size":10,"format":"qcow2"}]'
    with site.house.app.store.write() as sql:
        sql.execute(sa.update(tables.entity).values(disks=disks))
    policy = site.add(
        "vm-snapshot",
        name="hourly",
        vms=[{"guid": machine.guid} for machine in site.house.entities],
        rules=[{"name": "r", "retentionVersions": 3}],
    )
    with site.house.app.store.read() as sql:
        [rule] = SqlCatalogue(sql).records.of_kind("snapshot-rule", policy)
    schedule = site.schedule(type="VM_SNAPSHOT", rules=[{"guid": rule.guid}])
    for _ in range(2):
        site.at(MIDNIGHT + 22 * HOUR)
    site.at(MIDNIGHT + DAY + 22 * HOUR)
    [first, second] = site.fires(schedule)
    assert (first.planned, second.planned, second.skipped) == (3, 0, 3)
    assert len(site.tasks("SNAPSHOT")) == len(site.tasks("SNAPSHOT_CLEANUP")) == 3
    refs = msgspec.json.decode(site.tasks("SNAPSHOT")[0].refs)
    assert (refs["schedule"]["guid"], refs["rule"]["guid"]) == (schedule, rule.guid)


def test_a_recovery_plan_runs_by_a_schedule_and_not_twice_at_once(site):
    house = site.house
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    machine = house.entities[0].guid
    rules = [{"name": "all", "protectedEntities": [{"guid": machine}], "prefix": "copy-"}]
    plan = site.add("recovery-plan", name="test restore", rules=rules)
    schedule = site.schedule(type="VM_RESTORE", rules=[{"guid": plan}])
    site.at(MIDNIGHT + 22 * HOUR)
    site.at(MIDNIGHT + DAY + 22 * HOUR)
    [first, second] = site.fires(schedule)
    assert (first.planned, first.skipped) == (1, 0)
    assert (second.planned, second.skipped) == (0, 1)
    assert len(site.tasks("RESTORE")) == 1


def test_a_restore_of_a_recovery_plan_that_fails_is_tried_again_as_often_as_the_plan_says(site):
    house = site.house
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    rules = [{"name": "all", "protectedEntities": [{"guid": house.entities[0].guid}]}]
    plan = site.add("recovery-plan", name="drill", rules=rules, backupRetryCount=1)
    site.schedule(type="VM_RESTORE", rules=[{"guid": plan}])
    site.at(MIDNIGHT + 22 * HOUR)

    def of_kind(kind: str) -> list[str]:
        return [task.guid for task in site.tasks(kind) if task.state in ("QUEUED", "PLANNED")]

    [first] = of_kind("RESTORE")
    house.take(node, first)
    house.fail(node, first)
    [second] = of_kind("RESTORE")
    [waiting] = of_kind("IMPORT")
    assert house.row(waiting).follows == second
    house.clock.now += MINUTE
    maintenance.tick(house.app)
    house.take(node, second)
    house.fail(node, second)
    assert of_kind("RESTORE") == of_kind("IMPORT") == []


def test_an_import_of_a_recovery_plan_that_is_tried_again_finds_the_machine_that_it_made(site):
    house = site.house
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    rules = [{"name": "all", "protectedEntities": [{"guid": house.entities[0].guid}]}]
    plan = site.add("recovery-plan", name="drill", rules=rules, backupRetryCount=1)
    site.schedule(type="VM_RESTORE", rules=[{"guid": plan}])
    site.at(MIDNIGHT + 22 * HOUR)
    [restore] = site.tasks("RESTORE")
    house.take(node, restore)
    house.finish(node, restore)
    orders = []
    for _ in range(2):
        [item] = [task for task in site.tasks("IMPORT") if task.state == "QUEUED"]
        house.clock.now += MINUTE
        maintenance.tick(house.app)
        house.take(node, item)
        with house.app.store.read() as sql:
            orders.append(import_machine.prepare(house.row(item), SqlCatalogue(sql)))
        house.fail(node, item)
    assert orders[0].mark == orders[1].mark != ""


def test_a_recovery_plan_that_cannot_run_is_a_skip_with_its_reason(site):
    machine = site.house.entities[0].guid
    rules = [{"name": "all", "protectedEntities": [{"guid": machine}]}]
    plan = site.add("recovery-plan", name="too early", rules=rules)
    schedule = site.schedule(type="VM_RESTORE", rules=[{"guid": plan}])
    site.at(MIDNIGHT + 22 * HOUR)
    _, [shown] = schedules.history(site.house.app, schedule, site.house.user.scope, 5)
    assert [skip.reason for skip in shown.skips] == ["db has no backup that can be restored"]


def test_one_machine_that_cannot_be_planned_keeps_no_other_from_its_backup(site, monkeypatch):
    with site.house.app.store.write() as sql:
        other = {"name": "other", "node": str(uuid.uuid4()), "driver": "image-folder"}
        guid = str(uuid.uuid4())
        columns = {**rows.row_of(site.house.hypervisor, tables.hypervisor), **other, "guid": guid}
        sql.execute(sa.insert(tables.hypervisor).values(columns))
        to = tables.destination
        sql.execute(sa.update(to).values(node=str(uuid.uuid4())))
        here = tables.entity.c.guid == site.house.entities[1].guid
        sql.execute(sa.update(tables.entity).where(here).values(hypervisor=guid))
    schedule = site.schedule()
    site.at(MIDNIGHT + 22 * HOUR)
    [fire] = site.fires(schedule)
    assert (fire.planned, fire.skipped) == (2, 1)


def test_a_fire_goes_on_in_pieces_where_the_last_server_stopped(site, monkeypatch):
    monkeypatch.setattr(fires, "PIECE", 2)
    schedule = site.schedule()
    site.house.clock.now = MIDNIGHT + 22 * HOUR
    fires.begin(site.house.app, schedule)
    assert fires.plan_piece(site.house.app) == 2
    assert site.states(schedule) == ["PLANNING"]
    site.at(MIDNIGHT + 23 * HOUR)
    [fire] = site.fires(schedule)
    assert (fire.state, fire.planned, len(site.tasks())) == ("RUNNING", 3, 3)


def test_what_a_server_could_not_plan_before_the_window_closed_is_told(site, monkeypatch):
    monkeypatch.setattr(fires, "PIECE", 2)
    schedule = site.schedule(startWindowLength=HOUR)
    site.house.clock.now = MIDNIGHT + 22 * HOUR
    fires.begin(site.house.app, schedule)
    fires.plan_piece(site.house.app)
    site.at(MIDNIGHT + 23 * HOUR)
    [fire] = site.fires(schedule)
    assert (fire.state, fire.planned) == ("RUNNING", 2)
    assert len(site.events(EventKind.FIRE_MISSED)) == 1


def test_zone_data_that_moved_a_due_time_are_followed_at_the_next_start(site):
    schedule = site.schedule(timeZone="Europe/Berlin")
    right = site.times(schedule)["nextRun"]
    with site.house.app.store.write() as sql:  # as older zone data computed it
        sql.execute(sa.update(schedule_tables.schedule_clock).values(due_at=right - HOUR))
    maintenance.start(site.house.app)
    assert site.times(schedule)["nextRun"] == right
    site.at(right)
    maintenance.start(site.house.app)
    site.at(right + 1)
    assert len(site.fires(schedule)) == 1


def test_a_rule_that_cannot_be_read_holds_up_no_other_schedule(site):
    broken = site.schedule("broken")
    other = site.add(
        "vm-backup",
        name="silver",
        rules=[
            {
                "name": "noon",
                "ruleBackupDestinations": [
                    {"backupDestination": {"guid": site.house.destination.guid}}
                ],
            }
        ],
    )
    with site.house.app.store.write() as sql:
        known = configuration.SqlCatalogue(sql).records
        rule = known.of_kind("rule", other)[0].guid
        where = tables.record.c.guid == site.rule
        body = '{"ruleBackupDestinations": 5}'
        sql.execute(sa.update(tables.record).where(where).values(body=body))
    good = site.schedule("good", rules=[{"guid": rule}])
    site.at(MIDNIGHT + DAY + 22 * HOUR)
    assert (site.states(broken)[-1], site.states(good)[-1]) == ("DONE", "DONE")
    assert site.fires(broken)[-1].skipped == 1


def test_a_rule_that_a_schedule_names_twice_is_planned_once_and_holds_up_nothing(site):
    site.change("vm-backup", site.policy, name="gold", active=False)
    twice = site.schedule("twice", rules=[{"guid": site.rule}] * 3)
    other = site.schedule("other")
    site.at(MIDNIGHT + DAY + 22 * HOUR)
    assert (site.states(twice)[-1], site.states(other)[-1]) == ("DONE", "DONE")
    assert site.fires(twice)[-1].skipped == 1


@pytest.mark.parametrize(
    "stored",
    [
        {"interval": {"startHour": 0, "endHour": DAY, "frequency": 0}, "executionType": "INTERVAL"},
        {
            "interval": {"startHour": 0, "endHour": DAY, "frequency": 30},
            "executionType": "INTERVAL",
        },
        {"cron": "@daily"},
        {"cron": "0 0 1 * * *"},
        {"hour": 5, "timeZone": "Middle/Earth"},
        {"hour": 5, "type": "APP_BACKUP"},
        {},
    ],
    ids=["no frequency", "30 ms", "a name", "six fields", "no zone", "no task", "no time"],
)
def test_a_schedule_that_an_earlier_version_stored_unchecked_stops_nothing(site, stored):
    broken, good = site.schedule("broken"), site.schedule("good")
    body = {"rules": [{"guid": site.rule}], **stored}
    with site.house.app.store.write() as sql:
        where = tables.record.c.guid == broken
        sql.execute(sa.update(tables.record).where(where).values(body=rows.json_text(body)))
    maintenance.start(site.house.app)
    site.house.clock.now = MIDNIGHT + DAY + 22 * HOUR
    maintenance.tick(site.house.app)
    assert site.house.app.failed_steps == set()
    assert site.states(good)[-1] in ("RUNNING", "DONE")
    schedules.pause(site.house.app, site.house.user, broken)
    site.house.refuses(Malformed, schedules.resume, site.house.app, site.house.user, broken)
    site.add("vm-backup", name="silver")


def test_the_events_of_a_run_by_hand_name_no_due_time(site):
    guid = site.schedule("nightly")
    schedules.run(site.house.app, site.house.user, guid)
    fires.run_due(site.house.app)
    with site.house.app.store.read() as sql:
        table = event_tables.event.c
        query = sa.select(table.text).where(table.kind == EventKind.RUN_STARTED.value)
        [text] = sql.scalars(query)
    assert text == "gold, run by hand by nightly: the run starts"
