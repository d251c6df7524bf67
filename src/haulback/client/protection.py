"""Protection of machines over the API.  Times are in epoch ms."""

from __future__ import annotations

from typing import Unpack

from haulback.client.calls import Calls, ListFilters, Page
from haulback.contract.protect import Protecting, ProtectRequest
from haulback.contract.protection import MachineProtection, ProtectionCounts


class ProtectionStates:
    """Protection: new policies in one step, counts by state, and the machines of a state."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def protect(self, wanted: ProtectRequest) -> Protecting:
        """Protect machines in one step: policy, rule, schedule and notification rule."""
        return self._calls.one(Protecting, "POST", "/protect", wanted)

    def counts(self) -> ProtectionCounts:
        """Numbers of machines by state."""
        return self._calls.one(ProtectionCounts, "GET", "/protection")

    def machines(
        self, states: list[str] | None = None, page: int = 0, **query: Unpack[ListFilters]
    ) -> Page[MachineProtection]:
        """Fetch one page of 50 machines in some or all states, ordered by name."""
        sent = {"page": page, "size": 50, "protection": states or [], **query}
        return self._calls.page(MachineProtection, "/protection/machines", sent)
