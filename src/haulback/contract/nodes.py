"""Requests and answers of /nodes: node records, enrolment, and the channel of nodes."""

from __future__ import annotations

import msgspec

from haulback.contract.records import PolicyRecord
from haulback.wire import JsonObject, Label, Named, Ref

PROTOCOL = 1  # version of the channel between node and server; nodes send theirs when they enrol


class Space(msgspec.Struct):
    """Space of the staging area, bytes."""

    totalSpace: int
    usedSpace: int


class NodeRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A node; `token` is shown once, in the answer that creates the node."""

    guid: str
    name: str
    version: str
    state: Label
    stagingSpace: Space
    restoreRoots: list[str]
    protocol: int
    lastSeen: int | None = None
    nodeConfig: Named | None = None
    token: str | None = None


class NewNode(msgspec.Struct):
    """Request to add a third-party node, which uses only the task operations."""

    name: str


class ChangedNode(msgspec.Struct):
    """Changes of a node; absent members stay."""

    name: str | None = None
    nodeConfig: Ref | None = None


class NodeConfig(PolicyRecord, kw_only=True):
    """Node configuration: concurrency limits and start windows.

    `limits` by lane (`export`, `export.source`, `store.destination`), `windows` in ms by task type.
    """

    limits: dict[str, int] = {}
    windows: dict[str, int] = {}


class EnrolmentToken(msgspec.Struct):
    """An enrolment token of a node."""

    token: str


class Enrol(msgspec.Struct):
    """A request to enrol a node; `protocol` is the channel version that the node speaks."""

    token: str
    name: str
    protocol: int = PROTOCOL


class Enrolled(msgspec.Struct):
    """The credentials with which a node opens sessions."""

    guid: str
    secret: str


class FinishedWork(msgspec.Struct):
    """An attempt whose work is done, but whose end the node could not report before its process
    ended.
    """

    task: str
    attempt: int
    results: JsonObject


class Session(msgspec.Struct):
    """A request to open a session; `revision` is the repository format that the node can write."""

    guid: str
    secret: str
    version: str
    restoreRoots: list[str] = []
    done: list[FinishedWork] = []
    revision: int | None = None


class NodeSession(msgspec.Struct):
    """A session of a node process, with its token; `leaseMs` in ms, `now` (server) in epoch ms."""

    session: str
    token: str
    leaseMs: int
    now: int
    protocol: int = PROTOCOL


class WorkOrder(msgspec.Struct):
    """The order of a task: the attempt, and the order of the task's kind."""

    attempt: int
    order: msgspec.Struct


class DestinationKeys(msgspec.Struct, omit_defaults=True):
    """Secrets of a destination: the repository `key` (base64), and secret settings by name."""

    key: str
    secrets: dict[str, str] = {}


class PendingRequest(msgspec.Struct):
    """A request of the server to a node; the answer names the guid of the request."""

    guid: str
    body: JsonObject


class AnswerPiece(msgspec.Struct):
    """A piece of an answer; `error` ends the answer, in JSON as the API shows errors."""

    number: int
    body: bytes
    last: bool
    error: str | None = None


class PieceReceipt(msgspec.Struct):
    """Result of sending a piece of an answer; if `taken` is false, the node sends the piece
    again.
    """

    taken: bool
