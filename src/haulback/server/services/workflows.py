"""Workflows: the tasks of one plan."""

from __future__ import annotations

from haulback.errors import NotFound
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services.app import App
from haulback.server.store import lists, tasks
from haulback.tasks.record import Task

Workflow = tuple[Task, list[Task]]  # the first task of a workflow, and all its tasks


def page(app: App, wanted: ListQuery) -> tuple[list[Workflow], int]:
    """A page of workflows, the newest first, and the number of all."""
    with app.store.read() as sql:
        heads, total = lists.heads(sql, wanted)
        steps = lists.of_workflows(sql, [head.guid for head in heads])
    return [(head, steps[head.guid]) for head in heads], total


def workflow(app: App, guid: str, scope: Scope) -> Workflow:
    """A workflow by the guid of its first task.  Raises NotFound."""
    with app.store.read() as sql:
        head = tasks.get(sql, guid, scope)
        if head.workflow != head.guid:
            raise NotFound(f"there is no workflow {guid}", guid=guid)
        return head, lists.of_workflows(sql, [head.guid])[head.guid]
