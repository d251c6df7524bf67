"""Fires of schedules in the database: the server that inserts the key of a due time fires the
schedule.

States: PLANNING (tasks are being planned), PROVING (proofs are planned one after another), RUNNING,
DONE; MISSED, SKIPPED (without tasks); VOIDING (tasks are being cancelled), VOIDED (the clock was
set back to before the fire).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.errors import NotFound
from haulback.ids import new_guid
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import records, row_of
from haulback.server.store.schedule_tables import fire as table
from haulback.server.store.schedule_tables import fire_rule, fire_skip
from haulback.server.store.tables import task

PLANNING, RUNNING, DONE = "PLANNING", "RUNNING", "DONE"
MISSED, SKIPPED, VOIDING, VOIDED = "MISSED", "SKIPPED", "VOIDING", "VOIDED"
PROVING = "PROVING"
# The literal conditions of the partial indexes.
_INDEXED = {
    PLANNING: sa.text("fire.state IN ('PLANNING', 'VOIDING')"),
    VOIDING: sa.text("fire.state IN ('PLANNING', 'VOIDING')"),
    PROVING: sa.text("fire.state = 'PROVING'"),
}
_SOME = 500  # schedules in one tick
_LIVE = sa.text("task.state IN ('QUEUED', 'RUNNING', 'PLANNED') AND task.run <> ''")
_OPEN = Statement(
    "SELECT EXISTS (SELECT 1 FROM schedule_clock WHERE due_at <= :now) "
    "OR EXISTS (SELECT 1 FROM fire WHERE state IN ('PLANNING', 'VOIDING')) "
    "OR EXISTS (SELECT 1 FROM fire WHERE state = 'RUNNING') "
    "OR EXISTS (SELECT 1 FROM fire WHERE state = 'PROVING')"
)


class Fire(msgspec.Struct, kw_only=True):
    """A fire of a schedule.  Times in epoch ms.

    `nominal` is the local date and time of a due time.  `planned` counts workflows, `skipped`
    counts the rules and machines without a workflow.
    """

    guid: str = msgspec.field(default_factory=new_guid)
    schedule: str
    generation: int
    nominal: str
    voided: int = 0
    due_at: int
    window_end: int
    created: int
    ended: int | None = None
    state: str = PLANNING
    manual: bool = False
    at_rule: int = 0
    at_entity: str = ""
    planned: int = 0
    skipped: int = 0
    reason: str | None = None
    last_start: int | None = None

    @property
    def occasion(self) -> str:
        """The due time in words, or a remark that a user ran the schedule."""
        return "run by hand" if self.manual else f"due {self.nominal}"


class FireRule(msgspec.Struct, kw_only=True):
    """A rule of a fire: its position, its policy, and the run to which thresholds apply."""

    fire: str
    position: int
    rule: str
    policy: str
    run: str


class Skip(msgspec.Struct, kw_only=True):
    """A rule, or a machine of a rule, for which a fire planned no task; `entity` "": the rule."""

    fire: str
    rule: str
    entity: str = ""
    name: str
    reason: str


def is_anything_due(sql: sa.Connection, now: int) -> bool:
    """Whether a schedule is due or a fire is not complete."""
    row = _OPEN.row(sql, now=now)
    return bool(row and row[0])


def is_planning(sql: sa.Connection, run: str) -> bool:
    """Whether a fire is still making the tasks of a run."""
    query = sa.select(table.c.guid).join(fire_rule, fire_rule.c.fire == table.c.guid)
    query = query.where(_INDEXED[PLANNING], fire_rule.c.run == run)
    return sql.scalar(query.limit(1)) is not None


def add(sql: sa.Connection, fire: Fire, rules: Sequence[FireRule] = ()) -> bool:
    """Insert a fire with its rules; False if the due time has fired already."""
    if exists(sql, fire.schedule, fire.generation, fire.nominal):
        return False
    sql.execute(sa.insert(table).values(row_of(fire, table)))
    if rules:
        sql.execute(sa.insert(fire_rule), [row_of(rule, fire_rule) for rule in rules])
    return True


def exists(sql: sa.Connection, schedule: str, generation: int, nominal: str) -> bool:
    """Whether a due time has a fire that is not voided."""
    key = (table.c.schedule == schedule, table.c.generation == generation)
    query = sa.select(table.c.guid).where(*key, table.c.nominal == nominal, table.c.voided == 0)
    return sql.scalar(query) is not None


def take(sql: sa.Connection, state: str) -> Fire | None:
    """The oldest fire in a state, locked; a fire that another server works on is skipped."""
    query = sa.select(table).where(_INDEXED[state], table.c.state == state)
    query = query.order_by(table.c.due_at).limit(1).with_for_update(skip_locked=True)
    return next(iter(records(sql, query, Fire)), None)


def get(sql: sa.Connection, guid: str) -> Fire:
    """A fire by its guid.  Raises NotFound."""
    for fire in records(sql, sa.select(table).where(table.c.guid == guid), Fire):
        return fire
    raise NotFound(f"there is no fire {guid}", guid=guid)


def write(sql: sa.Connection, fire: Fire) -> None:
    """Write a fire that was locked in this transaction."""
    values = row_of(fire, table)
    sql.execute(sa.update(table).where(table.c.guid == values.pop("guid")).values(values))


def rules(sql: sa.Connection, fire: str) -> list[FireRule]:
    """The rules of a fire in their order."""
    query = sa.select(fire_rule).where(fire_rule.c.fire == fire)
    return records(sql, query.order_by(fire_rule.c.position), FireRule)


def skip(sql: sa.Connection, skips: Sequence[Skip]) -> None:
    """Insert the machines that a fire skipped, with the reasons."""
    if not skips:
        return
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    # A machine is recorded once, with the first reason.
    new = insert(fire_skip).on_conflict_do_nothing()
    sql.execute(new, [row_of(item, fire_skip) for item in skips])


def skips(sql: sa.Connection, fire: str, most: int) -> list[Skip]:
    """The first skipped rules and machines of a fire."""
    query = sa.select(fire_skip).where(fire_skip.c.fire == fire)
    return records(sql, query.order_by(fire_skip.c.rule, fire_skip.c.entity).limit(most), Skip)


def past(sql: sa.Connection, schedule: str, most: int) -> list[Fire]:
    """The newest fires of a schedule, the newest first."""
    query = sa.select(table).where(table.c.schedule == schedule)
    return records(sql, query.order_by(table.c.due_at.desc(), table.c.guid).limit(most), Fire)


def done(sql: sa.Connection, schedule: str, most: int) -> list[Fire]:
    """The newest completed fires of a schedule with tasks."""
    where = (table.c.schedule == schedule, table.c.state == DONE, table.c.planned > 0)
    query = sa.select(table).where(*where).order_by(table.c.due_at.desc()).limit(most)
    return records(sql, query, Fire)


def forget(sql: sa.Connection, before: int, most: int) -> int:
    """Delete some ended fires that were made before a time (epoch ms); returns their number."""
    old = (table.c.created < before, table.c.ended.is_not(None), table.c.state != VOIDING)
    guids = sa.select(table.c.guid).where(*old).order_by(table.c.created).limit(most)
    return sql.execute(sa.delete(table).where(table.c.guid.in_(guids))).rowcount


def finished(sql: sa.Connection, most: int) -> list[Fire]:
    """Some running fires without waiting or running tasks."""
    of_run = sa.select(task.c.guid).where(task.c.run == fire_rule.c.run, _LIVE)
    waits = sa.select(fire_rule.c.fire).where(fire_rule.c.fire == table.c.guid, of_run.exists())
    query = sa.select(table).where(sa.text("fire.state = 'RUNNING'"), ~waits.exists())
    query = query.order_by(table.c.due_at).limit(most)
    return records(sql, query.with_for_update(skip_locked=True), Fire)


def schedules_ahead(sql: sa.Connection, moment: int) -> list[str]:
    """Some schedules that have fires which `ahead` returns."""
    found: dict[str, None] = {}
    for where in _ahead(moment):
        query = sa.select(table.c.schedule).where(*where).distinct().limit(_SOME)
        found |= dict.fromkeys(sql.scalars(query))
    return list(found)


def ahead(sql: sa.Connection, schedule: str, moment: int, most: int) -> list[Fire]:
    """Some fires of a schedule that belong after `moment`, locked.

    These are the fires due after `moment`, and the fires made after `moment` whose tasks no node
    has begun.
    """
    of_schedule, result = table.c.schedule == schedule, dict[str, Fire]()
    for where in _ahead(moment):
        query = sa.select(table).where(of_schedule, *where).limit(most).with_for_update()
        result |= {fire.guid: fire for fire in records(sql, query, Fire)}
    return list(result.values())


def _ahead(moment: int) -> Iterator[tuple[sa.ColumnElement[bool], ...]]:
    counts = (table.c.voided == 0, ~table.c.manual)
    yield (*counts, table.c.due_at > moment)
    of_run = sa.and_(task.c.run == fire_rule.c.run, sa.text("task.run <> ''"), task.c.attempt > 0)
    begun = sa.select(fire_rule.c.fire).where(
        fire_rule.c.fire == table.c.guid, sa.select(task.c.guid).where(of_run).exists()
    )
    yield (*counts, table.c.created > moment, ~begun.exists())


def next_voided(sql: sa.Connection, fire: Fire) -> int:
    """The number in the key of a voided fire, by which its due time may fire again."""
    key = (table.c.schedule == fire.schedule, table.c.generation == fire.generation)
    query = sa.select(sa.func.max(table.c.voided)).where(*key, table.c.nominal == fire.nominal)
    return int(sql.scalar(query) or 0) + 1


def last_run(sql: sa.Connection, schedule: str) -> int | None:
    """The time (epoch ms) of the last fire of a schedule that counts and was not skipped."""
    did = table.c.state.in_((PLANNING, RUNNING, DONE))
    query = sa.select(table.c.created).where(table.c.schedule == schedule, did)
    found: int | None = sql.scalar(query.order_by(table.c.due_at.desc()).limit(1))
    return found


def last_start(sql: sa.Connection, fire: str) -> int | None:
    """The time (epoch ms) at which the last task of a fire started, or None."""
    of_fire = sa.select(fire_rule.c.run).where(fire_rule.c.fire == fire)
    query = sa.select(sa.func.max(task.c.started))
    found: int | None = sql.scalar(query.where(task.c.run.in_(of_fire), sa.text("run <> ''")))
    return found


def states(sql: sa.Connection, run: str) -> dict[str, int]:
    """The number of a run's tasks in each state."""
    query = sa.select(task.c.state, sa.func.count()).where(task.c.run == run, sa.text("run <> ''"))
    return {row[0]: row[1] for row in sql.execute(query.group_by(task.c.state))}
