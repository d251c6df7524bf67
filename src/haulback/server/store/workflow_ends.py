"""Workflows whose tasks have all ended."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from haulback.contract.task_states import FINAL
from haulback.server.store import tasks
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

_FINAL = {state.value for state in FINAL}


def ended_workflows(sql: sa.Connection, workflows: Sequence[str]) -> list[list[Task]]:
    """The ended tasks of each of these workflows, the first task of the plan first."""
    plans: dict[str, list[Task]] = {guid: [] for guid in workflows}
    query = sa.select(*tasks.COLUMNS).where(tasks.among(sql, table.c.workflow, workflows))
    for row in sql.execute(query.order_by(table.c.created, table.c.guid)):
        task = tasks.task_of(row)
        plans[task.workflow].append(task)
    return [_headed(plan) for plan in plans.values() if _is_ended(plan)]


def _is_ended(plan: Sequence[Task]) -> bool:
    return bool(plan) and all(task.state in _FINAL for task in plan)


def _headed(plan: list[Task]) -> list[Task]:
    """The tasks of the plan, the first task in front; EXPORT and STORE have the same creation
    time.
    """
    return sorted(plan, key=lambda task: task.guid != task.workflow and task.follows is not None)
