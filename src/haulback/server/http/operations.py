"""All operations of the API, with the access table and examples that follow from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from haulback.contract.roles import PUBLIC
from haulback.kinds.api import Submission
from haulback.server.http import (
    alarms,
    api_documents,
    assignment,
    backups,
    chargeback,
    configuration,
    copies,
    dashboard,
    destination_catalogue,
    destination_space,
    events,
    forecast,
    health,
    hypervisors,
    machines,
    mounts,
    node_tasks,
    nodes,
    notifications,
    own_database,
    protect,
    protection,
    reports,
    retention,
    retention_preview,
    schedules,
    snapshots,
    system_schedules,
    tasks,
    users,
    workflows,
)
from haulback.server.http.operation import Operation
from haulback.server.http.request_body import check_declared

_MODULES = (
    node_tasks,
    users,
    nodes,
    own_database,
    hypervisors,
    destination_catalogue,
    destination_space,
    copies,
    machines,
    backups,
    retention,
    retention_preview,
    schedules,
    system_schedules,
    forecast,
    mounts,
    snapshots,
    alarms,
    events,
    notifications,
    workflows,
    configuration,
    assignment,
    protect,
    protection,
    dashboard,
    reports,
    chargeback,
    health,
)


def operations(submissions: Iterable[Submission]) -> list[Operation]:
    """All operations of the API, with an operation for each submission.

    Raises ValueError if two operations have the same method and path, or if a public operation
    accepts bodies that are too large.
    """
    result = [*tasks.router.operations, *tasks.submissions(submissions)]
    result += [operation for module in _MODULES for operation in module.router.operations]
    result += api_documents.documenting(tuple(result)).operations
    for key, count in Counter(operation.key for operation in result).items():
        if count > 1:
            raise ValueError(f"{key} is declared {count} times")
    for operation in result:
        is_open = operation.takes_body and operation.roles == PUBLIC
        check_declared(operation.key, operation.body, is_open)
    return result
