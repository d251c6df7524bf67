"""Notifications over the API: tests of channels, and the log of deliveries."""

from __future__ import annotations

from typing import TypedDict, Unpack

from haulback.client import record_names
from haulback.client.calls import Calls, Page
from haulback.contract.notifications import DeliveryRecord
from haulback.ids import is_guid


class DeliveryFilter(TypedDict, total=False):
    """Filters of deliveries: the guid of a channel, states, epoch ms."""

    page: int
    size: int
    channel: str
    state: list[str]
    from_: int
    to: int


class Notifications:
    """Deliveries; channels and rules are records (`Client.records`)."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def test(self, channel: str) -> DeliveryRecord:
        """Send a test message through a channel; its state is DELIVERED or FAILED."""
        return self._calls.one(DeliveryRecord, "POST", f"/notification-channels/{channel}/test")

    def page(self, **query: Unpack[DeliveryFilter]) -> Page[DeliveryRecord]:
        """Fetch a page of deliveries, the newest first."""
        return self._calls.page(DeliveryRecord, "/deliveries", {"size": 50, **query})

    def guid(self, wanted: str) -> str:
        """The guid of a delivery, by guid, its beginning, or `latest`."""
        if is_guid(wanted):
            return wanted
        if wanted == "latest" and (rows := self.page(size=1).rows):
            return rows[0].guid
        query = {"filter": record_names.searched("delivery", wanted)}
        fitting = self._calls.each(DeliveryRecord, "/deliveries", query)
        return record_names.chosen(fitting, wanted, "delivery", lambda row: row.channel.name).guid

    def get(self, guid: str) -> DeliveryRecord:
        """Fetch a delivery with its attempts.  Raises NotFound."""
        return self._calls.one(DeliveryRecord, "GET", f"/deliveries/{guid}")

    def redeliver(self, guid: str) -> DeliveryRecord:
        """Queue a message for another delivery at once.  Raises NotFound."""
        return self._calls.one(DeliveryRecord, "POST", f"/deliveries/{guid}/redeliver")
