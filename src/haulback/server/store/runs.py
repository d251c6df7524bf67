"""Runs of policies: their failed tasks, and the tasks that repeated them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from haulback.contract.task_states import FINAL
from haulback.server.scope import Scope
from haulback.server.store import tasks
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

_REPEATABLE = ("EXPORT", "STORE", "SNAPSHOT")
_HAS_RUN = sa.text("run <> ''")  # the condition of the index
_FINAL = {state.value for state in FINAL}


def exists(sql: sa.Connection, run: str, scope: Scope) -> bool:
    """Whether a run has a task that the caller sees."""
    query = sa.select(table.c.guid).where(*_of(run, scope)).limit(1)
    return sql.scalar(query) is not None


def failed(sql: sa.Connection, run: str, scope: Scope, after: str, most: int) -> list[Task]:
    """Some failed tasks of a run with guids greater than a given guid, in their order."""
    where = (*_of(run, scope), table.c.type.in_(_REPEATABLE), table.c.state == "FAILED")
    query = sa.select(*tasks.COLUMNS).where(*where, table.c.guid > after)
    return [tasks.task_of(row) for row in sql.execute(query.order_by(table.c.guid).limit(most))]


def settled(sql: sa.Connection, run: str, entities: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs (rule, machine) that have a waiting, running or successful workflow in a run."""
    query = sa.select(*tasks.COLUMNS).where(
        _HAS_RUN, table.c.run == run, table.c.entity.in_(entities)
    )
    plans: dict[str, list[Task]] = {}
    for row in sql.execute(query):
        task = tasks.task_of(row)
        plans.setdefault(task.workflow, []).append(task)
    return {pair_of(plan[0]) for plan in plans.values() if _is_settled(plan)}


def pair_of(task: Task) -> tuple[str, str]:
    """The rule and the machine of a task."""
    return task.ref("rule") or "", task.ref("protectedEntity") or ""


def _is_settled(plan: Sequence[Task]) -> bool:
    if any(task.state not in _FINAL for task in plan):
        return True
    return all(task.state == "FINISHED" for task in plan)


def _of(run: str, scope: Scope) -> list[Any]:
    where: list[object] = [_HAS_RUN, table.c.run == run]
    listed = scope.listed
    return where if listed is None else [*where, table.c.project.in_(listed)]
