"""Schedules and system schedules: records that fire, with their fires and due times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from haulback.client.records import RecordCollection
from haulback.contract.fires import FireRecord, Fires, ResumedSchedules
from haulback.contract.forecast import ForecastRecord
from haulback.contract.records import PolicyRecord

T = TypeVar("T", bound=PolicyRecord)


class Schedules(RecordCollection[T]):
    """All schedules of one type; system schedules can be neither added nor removed."""

    def pause(self, guid: str) -> None:
        """Let no due time of a schedule fire until it is resumed."""
        self._calls.done("POST", f"{self.path}/{guid}/pause")

    def resume(self, guid: str) -> None:
        """Let a paused schedule fire at its next due times."""
        self._calls.done("POST", f"{self.path}/{guid}/resume")

    def resume_all(self) -> ResumedSchedules:
        """Resume all paused schedules; the answer names those that cannot fire."""
        return self._calls.one(ResumedSchedules, "POST", "/schedules/resume")

    def run(self, guid: str) -> FireRecord:
        """Fire a schedule at once.  Raises Conflict for an inactive schedule."""
        return self._calls.one(FireRecord, "POST", f"{self.path}/{guid}/run")

    def fires(self, guid: str, past: int = 20, coming: int = 20) -> Fires:
        """The newest fires of a schedule, and its next due times."""
        query = {"past": past, "next": coming}
        return self._calls.one(Fires, "GET", f"{self.path}/{guid}/fires", query=query)

    def forecast(self, days: int = 7, most: int = 1000) -> Iterator[ForecastRecord]:
        """The fires of the next days, in the order of their due times."""
        query = {"days": days, "size": most}
        return iter(self._calls.page(ForecastRecord, "/forecast", query).rows)
