"""The selection of events that a notification rule reports."""

from __future__ import annotations

import msgspec

from haulback.contract.events import EventKind, EventRecord

_ENDS = {
    EventKind.TASK_ENDED.value,
    EventKind.WORKFLOW_ENDED.value,
    EventKind.RUN_ENDED.value,
}
_BAD_ENDS = frozenset({"FAILED", "PARTIALLY_FINISHED"})
# The events of a rule without event kinds: problems that a person must know, each reported once.
TROUBLES = frozenset(
    kind.value
    for kind in (
        EventKind.WORKFLOW_ENDED,
        EventKind.RUN_ENDED,
        EventKind.FIRE_MISSED,
        EventKind.FIRE_VOIDED,
        EventKind.SCHEDULES_PAUSED,
        EventKind.PROTECTION_CHANGED,
        EventKind.ALARM_RAISED,
        EventKind.NODE_DOWN,
        EventKind.DESTINATION_FILLING,
        EventKind.DESTINATION_DOWN,
        EventKind.PROOF_FAILED,
        EventKind.LOCK_REFUSED,
        EventKind.KEY_TROUBLE,
        EventKind.RETENTION_WAITS,
        EventKind.SERVER_HELD,
        EventKind.CHANNEL_DISABLED,
        EventKind.DELIVERY_FAILED,
    )
)
# Alarms that have an event of their own, and states of protection that a person must act on.
_OTHERWISE_TOLD = frozenset({"RETENTION_WAITS", "SERVER_HELD"})
_UNPROTECTED = frozenset({"LATE", "UNASSIGNED"})
# The monitor of a policy receives events about the policy's runs only, in any state.
HEARTBEATS = frozenset({EventKind.RUN_STARTED.value, EventKind.RUN_ENDED.value})


class RuleFilter(msgspec.Struct, kw_only=True):
    """The conditions of a rule; a `project` of None means all projects.

    Empty members are no condition; empty `events` select the problems.
    """

    project: str | None = None
    events: frozenset[str] = frozenset()
    task_types: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()


def state_of(event: EventRecord) -> str | None:
    """The state of an ended task, workflow or run; a run is FAILED as soon as a task of the run
    failed.
    """
    if (state := event.data.get("state")) is not None:
        return str(state)
    states = event.data.get("states")
    if event.kind.name != EventKind.RUN_ENDED.value or not isinstance(states, dict):
        return None
    return next((word for word in ("FAILED", "CANCELLED") if states.get(word)), "FINISHED")


def is_told(rule: RuleFilter, event: EventRecord) -> bool:
    """Whether a rule reports an event to people or programs.

    The first scheduled run of a policy is reported whatever its result.
    """
    if not _concerns(rule, event) or event.data.get("retried"):
        return False
    if event.kind.name == EventKind.RUN_ENDED.value and event.data.get("first"):
        return True
    if event.kind.name not in (rule.events or TROUBLES):
        return False
    if event.kind.name not in _ENDS:
        return bool(rule.events) or not _is_quiet(event)
    kind = event.data.get("type")
    if rule.task_types and kind is not None and kind not in rule.task_types:
        return False
    states = rule.states or (frozenset() if rule.events else _BAD_ENDS)
    return not states or state_of(event) in states


def _is_quiet(event: EventRecord) -> bool:
    """Whether an event of a problem kind is to be ignored: another event reports the problem, or
    its state is good.
    """
    if event.kind.name == EventKind.PROTECTION_CHANGED.value:
        return event.data.get("state") not in _UNPROTECTED
    return event.data.get("alarm") in _OTHERWISE_TOLD


def is_heartbeat(rule: RuleFilter, event: EventRecord) -> bool:
    """Whether a rule reports an event to a monitor: starts and ends of the runs of its policies."""
    return event.kind.name in HEARTBEATS and _concerns(rule, event)


def _concerns(rule: RuleFilter, event: EventRecord) -> bool:
    """Whether a rule covers the policy and the project of an event."""
    if rule.project is not None and event.project != rule.project:
        return False
    if rule.projects and event.project not in rule.projects:
        return False
    return not rule.policies or event.policy in rule.policies
