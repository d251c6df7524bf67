"""Workflow executions: a row for the tasks of a plan, such as EXPORT and STORE."""

from __future__ import annotations

from typing import Any

from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE, WORKERS
from haulback.contract.task_states import FINAL, PLANNED
from haulback.contract.workflows import WorkflowExecution
from haulback.server.caller import SYSTEM
from haulback.server.http import paging, task_views
from haulback.server.http.operation import ApiRequest, Reply, Router
from haulback.server.services import bulk_removal, task_losses, tasks, workflows
from haulback.tasks import workflow_state
from haulback.tasks.record import Task
from haulback.wire import Named, label

_FINAL = {state.value for state in FINAL}
_OWN = Named(SYSTEM.guid, SYSTEM.name, label("SYSTEM_SCHEDULE"))  # tasks that no user requested
router = Router()


@router(
    "GET",
    "/workflow-executions",
    "Workflows.",
    answer=WorkflowExecution,
    many=True,
    query=paging.COMMON,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="workflow ls",
)
def list_executions(call: ApiRequest) -> Reply:
    """A page of workflows, the newest first."""
    found, total = workflows.page(call.app, paging.wanted(call))
    return paging.page(found, total, lambda workflow: _execution(*workflow))


@router(
    "GET",
    "/workflow-executions/{guid}",
    "A workflow.",
    answer=WorkflowExecution,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="workflow show WORKFLOW",
)
def one_execution(call: ApiRequest) -> WorkflowExecution:
    """A workflow with its tasks."""
    head, steps = workflows.workflow(call.app, call.guid, call.who.scope)
    shown = _execution(head, steps)
    waits = tasks.waits(call.app, steps)
    shown.tasks = [task_views.list_record(task, waits.get(task.guid)) for task in steps]
    return shown


@router(
    "DELETE",
    "/workflow-executions/{guid}",
    "Remove a workflow's finished tasks.",
    status=204,
    roles=WORKERS,
    projects=ProjectAccess.OBJECTS,
    command="workflow rm WORKFLOW",
    destroys=lambda call: task_losses.of_workflow(call.app, call.guid, call.who.scope),
)
def remove_execution(call: ApiRequest) -> None:
    """Remove the finished tasks of a workflow from the lists."""
    _, steps = workflows.workflow(call.app, call.guid, call.who.scope)
    finished = [task.guid for task in steps if task.state in _FINAL]
    bulk_removal.remove_some(call.app, call.who, finished, FINAL)


def _execution(head: Task, steps: list[Task]) -> WorkflowExecution:
    steps = workflow_state.main_steps(steps)
    live = [task for task in steps if task.state not in _FINAL]
    now = _current(steps, live)
    refs = head.refs
    to = refs.get("backupDestination")
    return WorkflowExecution(
        guid=head.guid,
        state=label(workflow_state.state_of(steps)),
        definitionName=label(workflow_state.name_of(head)),
        averageProgress=round(sum(t.progress for t in steps) / len(steps), 2),
        currentStep=label(now.type),
        protectedEntity=refs.get("protectedEntity"),
        backupDestinations=[to] if to else [],
        originEntity=refs.get("originEntity") or _OWN,  # portals read its type
        priority=head.priority,
        creationTime=head.created,
        startTime=head.started,
        finishTime=None if live else max(t.finished or 0 for t in steps),
        statusInfo=_first(t.status_info for t in reversed(steps)),
    )


def _current(steps: list[Task], live: list[Task]) -> Task:
    """The running step of a workflow; the last step of an ended workflow."""
    if live:
        return next((task for task in live if task.state != PLANNED), live[-1])
    last = {task.type: task for task in steps}  # a retry has replaced the failed task
    for state in ("FAILED", "CANCELLED"):
        if ended := [task for task in last.values() if task.state == state]:
            return ended[0]
    return steps[-1]


def _first(texts: Any) -> str | None:
    return next((text for text in texts if text), None)
