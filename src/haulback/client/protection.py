"""Protection of machines over the API.  Times are in epoch ms."""

from __future__ import annotations

from typing import Unpack

from haulback.client.calls import Calls, Narrowed, Page
from haulback.contract.protection import MachineProtection, ProtectionCounts


class ProtectionStates:
    """Counts of machines by protection state, and the machines of a state."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def counts(self) -> ProtectionCounts:
        """Numbers of machines by state."""
        return self._calls.one(ProtectionCounts, "GET", "/protection")

    def machines(
        self, states: list[str] | None = None, page: int = 0, **query: Unpack[Narrowed]
    ) -> Page[MachineProtection]:
        """Fetch one page of 50 machines, by name, in some states or in all."""
        sent = {"page": page, "size": 50, "protection": states or [], **query}
        return self._calls.page(MachineProtection, "/protection/machines", sent)
