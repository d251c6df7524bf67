"""Dry runs: the list of what an operation would remove, in place of the operation."""

from __future__ import annotations

from typing import Any

from haulback.errors import Malformed
from haulback.server.http import query_params
from haulback.server.http.operation import DRY_RUN, GONE, ApiRequest, Operation, Reply


def is_gone(call: ApiRequest) -> bool:
    """Whether a removal gives up an object that will not come back."""
    return bool(query_params.flag(call, GONE.name))


def carried_out(operation: Operation, call: ApiRequest) -> Any:
    """The answer of an operation, or of its dry run, which changes nothing.

    Raises Malformed for the dry run of an operation that has none, so that the operation is not
    carried out by mistake.
    """
    if operation.method == "GET" or not query_params.flag(call, DRY_RUN.name):
        return operation.handle(call)
    if operation.destroys is None:
        raise Malformed(
            f"{DRY_RUN.name}: {operation.key} has no dry run; leave it out", field=DRY_RUN.name
        )
    losses = operation.destroys(call)
    # Giving up takes many transactions, so it is not rehearsed; its list raises the same refusals.
    # A flag that an operation does not know must not take its refusals away.
    gives_up = GONE in operation.query and is_gone(call)
    if operation.rehearsed and not gives_up:
        with call.app.store.rehearsal():
            operation.handle(call)
    return Reply(losses, status=200)
