"""Dry runs: the list of what an operation would remove, in place of the operation."""

from __future__ import annotations

from haulback.errors import Malformed
from haulback.server.http import query_params
from haulback.server.http.operation import DRY_RUN, GONE, ApiRequest, Operation, Reply


def is_gone(call: ApiRequest) -> bool:
    """Whether a removal gives up an object that is lost for good."""
    return bool(query_params.flag(call, GONE.name))


def carried_out(operation: Operation, call: ApiRequest) -> object:
    """The answer of an operation, or of its dry run, which changes nothing.

    Raises Malformed if the operation has no dry run, so that it is not carried out by mistake.
    """
    if operation.method == "GET" or not query_params.flag(call, DRY_RUN.name):
        return operation.handle(call)
    if operation.destroys is None:
        raise Malformed(
            f"{DRY_RUN.name}: {operation.key} has no dry run; leave the parameter out",
            field=DRY_RUN.name,
        )
    losses = operation.destroys(call)
    # Giving up takes many transactions, so the dry run does not carry it out; the list of losses
    # refuses the same requests. A flag that an operation does not know must not skip its refusals.
    gives_up = GONE in operation.query and is_gone(call)
    if operation.rehearsed and not gives_up:
        with call.app.store.rehearsal():
            operation.handle(call)
    return Reply(losses, status=200)
