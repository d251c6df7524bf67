"""Protection in one step."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.protect import Protecting, ProtectRequest
from haulback.contract.roles import ADMINS
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import protect

router = Router()


@router(
    "POST",
    "/protect",
    "Protect machines in one step.",
    request=ProtectRequest,
    answer=Protecting,
    status=201,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    examples=[
        {"all": True, "nightly": "22:00 Europe/Berlin", "keep": "7d,4w,12m", "to": example.REF}
    ],
    command="protect --match 'web*' --nightly 22:00 --to DESTINATION",
)
def protect_machines(call: ApiRequest) -> Protecting:
    """Add a policy with rule, schedule and notification rule, and assign the machines to the
    policy.
    """
    return protect.protect(call.app, call.who, call.read(ProtectRequest))
