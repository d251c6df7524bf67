"""The key slot by which the first destination of a family opens its copies."""

from __future__ import annotations

from haulback.contract.order_records import BackupDestination
from haulback.errors import HaulbackError
from haulback.repository.repository import Repository
from haulback.work.context import TaskContext


def let_family_open(
    context: TaskContext, repository: Repository, family: BackupDestination | None
) -> None:
    """Let the key of the destination `family` open a repository with the same master key.

    Copies of earlier versions lack this slot.  An error is logged and does not end the task.
    """
    if family is None:
        return
    try:
        is_new = repository.let_open(context.repositories.secret(family))
    except HaulbackError as error:
        context.log(f"the key of {family.name} may not open the copies: {error.message}")
        return
    if is_new:
        context.log(f"the key of {family.name} opens the copies from now on")
