"""The space of destinations, by machine."""

from __future__ import annotations

from haulback.contract.roles import PEOPLE
from haulback.contract.space import MachineShare
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import space

router = Router()


@router(
    "GET",
    "/backup-destinations/{guid}/space",
    "Stored bytes of a destination by machine.",
    answer=MachineShare,
    many=True,
    roles=PEOPLE,
    command="destination space DESTINATION",
)
def space_by_machine(call: ApiRequest) -> list[MachineShare]:
    """Stored bytes of each machine, its own and shared ones, as counted by the last clean-up."""
    return space.machines(call.app, call.guid)
