"""Messages of the outbox."""

from __future__ import annotations

import msgspec

from haulback.contract.notifications import DeliveryAttempt, Message
from haulback.ids import new_guid

WAITING = "WAITING"


class Delivery(msgspec.Struct, kw_only=True):
    """A message in the outbox.  Times in epoch ms; a `message` of None is computed from its
    events.
    """

    guid: str = msgspec.field(default_factory=new_guid)
    channel: str
    channel_name: str
    type: str
    rule: str | None = None
    rule_name: str | None = None
    project: str | None = None
    state: str = WAITING
    created: int
    due: int
    attempts: int = 0
    count: int = 1
    title: str
    message: str | None = None
    log: str = "[]"
    finished: int | None = None
    status_info: str | None = None

    @property
    def tried(self) -> list[DeliveryAttempt]:
        """The last attempts, the oldest first."""
        return msgspec.json.decode(self.log, type=list[DeliveryAttempt])

    def inline(self) -> Message | None:
        """The message of a delivery without events."""
        return None if self.message is None else msgspec.json.decode(self.message, type=Message)
