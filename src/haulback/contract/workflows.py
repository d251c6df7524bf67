"""Answers of /workflow-executions."""

from __future__ import annotations

import msgspec

from haulback.contract.tasks import TaskListRecord
from haulback.wire import Label, Named


class WorkflowExecution(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A workflow and its progress in percent; times in epoch ms."""

    guid: str
    state: Label
    definitionName: Label
    averageProgress: float
    currentStep: Label
    priority: int
    backupDestinations: list[Named]
    creationTime: int
    protectedEntity: Named | None = None
    originEntity: Named | None = None
    startTime: int | None = None
    finishTime: int | None = None
    statusInfo: str | None = None
    tasks: list[TaskListRecord] | None = None
