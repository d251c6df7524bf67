"""Messages for numbered events, put into the outbox in the transaction that numbers the events."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from haulback.contract.events import EventRecord
from haulback.contract.notifications import ChannelType
from haulback.inventory.delivery import Delivery
from haulback.inventory.records import Record
from haulback.policy.notification_match import RuleFilter, is_heartbeat, is_told
from haulback.server.services.notifications import CHANNEL, RULE
from haulback.server.store import outbox
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection

# Events of five minutes are sent in one mail, unless the rule sets another digest.
MAIL_DIGEST_MS = 300_000
log = logging.getLogger(__name__)


def enqueue(sql: Connection, numbered: Sequence[EventRecord], now: int) -> None:
    """Add messages for the events that active rules select; without rules this costs one index
    lookup.
    """
    records = SqlCatalogue(sql).records
    rules = [rule for rule in records.of_kind(RULE) if rule.body.get("active", True)]
    if not rules or not numbered:
        return
    channels = {record.guid: record for record in records.of_kind(CHANNEL)}
    for rule in rules:
        for ref in rule.body.get("channels", []):
            channel = channels.get(ref["guid"])
            if channel and channel.body.get("active", True):
                _enqueue(sql, _Way(rule, channel, now), numbered)


class _Way:
    """A rule and one of its channels."""

    def __init__(self, rule: Record, channel: Record, now: int) -> None:
        self.rule, self.channel, self.now = rule, channel, now
        self.type = str(channel.body.get("type"))
        self.filter = filter_of(rule)

    @property
    def digest(self) -> int:
        """Milliseconds for which a message collects events."""
        if self.type == ChannelType.MONITOR.value:
            return 0
        usual = MAIL_DIGEST_MS if self.type == ChannelType.MAIL.value else 0
        return int(self.rule.body.get("digest", usual))

    def chosen(self, numbered: Sequence[EventRecord]) -> list[EventRecord]:
        """The events to report; an event about the channel itself goes to other channels."""
        wanted = is_heartbeat if self.type == ChannelType.MONITOR.value else is_told
        return [
            event
            for event in numbered
            if event.subject.guid != self.channel.guid and wanted(self.filter, event)
        ]

    def message(self, title: str) -> Delivery:
        return Delivery(
            channel=self.channel.guid,
            channel_name=self.channel.name,
            type=self.type,
            rule=self.rule.guid,
            rule_name=self.rule.name,
            project=self.rule.project,
            created=self.now,
            due=self.now + self.digest,
            title=title,
        )


def _enqueue(sql: Connection, way: _Way, numbered: Sequence[EventRecord]) -> None:
    chosen = way.chosen(numbered)
    if chosen and way.digest:
        outbox.collect(sql, way.message(chosen[0].text), [event.number for event in chosen])
        return
    for event in chosen:
        outbox.add(sql, way.message(event.text), [event.number])


def filter_of(rule: Record) -> RuleFilter:
    """The conditions of a stored rule."""
    body = rule.body
    return RuleFilter(
        project=rule.project,
        events=frozenset(body.get("events", [])),
        task_types=frozenset(body.get("taskTypes", [])),
        states=frozenset(body.get("states", [])),
        policies=frozenset(ref["guid"] for ref in body.get("policies", [])),
        projects=frozenset(body.get("projects", [])),
    )
