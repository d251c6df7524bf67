"""Events: changes that Haulback reports to people and portals."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import JsonObject, Label, Named


class EventKind(Enum):
    """Kinds of events; the comment of each kind names its subject."""

    TASK_ENDED = "TASK_ENDED"  # task
    WORKFLOW_ENDED = "WORKFLOW_ENDED"  # first task of the workflow
    RUN_STARTED = "RUN_STARTED"  # policy: the tasks of a scheduled run are made
    RUN_ENDED = "RUN_ENDED"  # policy: all tasks of a scheduled run have ended
    FIRE_MISSED = "FIRE_MISSED"  # schedule
    FIRE_VOIDED = "FIRE_VOIDED"  # schedule
    FIRE_SKIPPED = "FIRE_SKIPPED"  # schedule: earlier tasks of the rule are pending
    SCHEDULES_PAUSED = "SCHEDULES_PAUSED"  # server: schedules of an earlier version wait
    PROTECTION_CHANGED = "PROTECTION_CHANGED"  # entity
    ASSIGNMENT_CHANGED = "ASSIGNMENT_CHANGED"  # policy
    ALARM_RAISED = "ALARM_RAISED"  # subject of the alarm
    ALARM_CLEARED = "ALARM_CLEARED"  # subject of the alarm
    NODE_DOWN = "NODE_DOWN"  # node
    NODE_UP = "NODE_UP"  # node
    DESTINATION_FILLING = "DESTINATION_FILLING"  # backup destination
    DESTINATION_DOWN = "DESTINATION_DOWN"  # backup destination: a task could not reach it
    BREAKER_OPENED = "BREAKER_OPENED"  # backup destination: its tasks wait
    BREAKER_CLOSED = "BREAKER_CLOSED"  # backup destination: its tasks continue
    PROOF_FAILED = "PROOF_FAILED"  # backup
    LOCK_REFUSED = "LOCK_REFUSED"  # backup
    KEY_TROUBLE = "KEY_TROUBLE"  # server or backup destination
    RETENTION_WAITS = "RETENTION_WAITS"  # rule: its first deletion waits for a confirmation
    SERVER_HELD = "SERVER_HELD"  # server: a restored database holds schedules and deletions
    HOLD_LIFTED = "HOLD_LIFTED"  # server
    CHANNEL_DISABLED = "CHANNEL_DISABLED"  # notification channel: its receiver is gone
    DELIVERY_FAILED = "DELIVERY_FAILED"  # notification channel: a message failed for good


class Event(msgspec.Struct, kw_only=True):
    """An event about a subject; `time` in epoch ms; `data` differs by kind.

    `project` is the project of the subject, None for a subject of all projects; `policy` the policy
    that the event belongs to.  `rule` is a rule of a backup policy, in place of `policy`.  At most
    one event with a given `once` is stored.
    """

    kind: EventKind
    time: int
    subject: str
    subject_name: str
    project: str | None = None
    policy: str | None = None
    rule: str | None = None
    text: str
    data: JsonObject = {}
    once: str | None = None


class EventRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An event of GET /events, as an element of the list and as the data of a stream.

    `number` grows by 1 from event to event; `time` in epoch ms.
    """

    number: int
    kind: Label
    time: int
    subject: Named
    text: str
    project: str | None = None
    policy: str | None = None
    data: JsonObject = {}
