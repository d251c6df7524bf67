"""Queries of lists: filters, order and page."""

from __future__ import annotations

import msgspec

from haulback.server.scope import EVERYTHING, Scope

MOST = 10_000  # rows of the largest page


class ListQuery(msgspec.Struct, kw_only=True):
    """Filter, order and page of a list.  `order` is the name of a member; `page` counts from 0."""

    scope: Scope
    page: int = 0
    size: int = 10_000
    text: str | None = None
    order: str | None = None
    descending: bool = False
    entity: str | None = None
    backup: str | None = None
    node: str | None = None
    hypervisor: str | None = None
    destination: str | None = None
    rule: str | None = None
    policy: str | None = None
    snapshot_policy: str | None = None
    parent: str | None = None
    subject: str | None = None
    statuses: list[str] = []
    places: list[str] = []
    types: list[str] = []
    since: int | None = None
    until: int | None = None
    name: str | None = None
    min_size: int | None = None
    locations: bool = False  # every location is a row of its own
    only: list[str] | None = None  # guids
    now: int = 0  # epoch ms


class Filter(msgspec.Struct, kw_only=True):
    """Filter, order and page of a list of tasks.  `refs` are guids by their role in the contract.

    `cursor` is the end of an earlier page; `since` is the earliest change to list, epoch ms.
    """

    states: list[str] = []
    types: list[str] = []
    refs: dict[str, str] = {}
    parent: str | None = None
    workflow: str | None = None
    scope: Scope = EVERYTHING
    reader: str | None = None  # the node that lists its tasks
    text: str | None = None
    name: str | None = None
    mounted: bool | None = None
    since: int | None = None
    unwished: bool = False  # without tasks whose cancellation was requested
    order: str | None = None
    descending: bool = False
    page: int | None = None
    size: int | None = None
    cursor: str | None = None


class EventQuery(msgspec.Struct, kw_only=True):
    """Filter and page of events.  Times in epoch ms; `after`, `before` and `head` are numbers.

    With `after` the oldest event comes first, otherwise the newest; no number exceeds `head`.
    """

    scope: Scope = EVERYTHING
    after: int | None = None
    before: int | None = None
    head: int | None = None
    size: int = 100
    kinds: list[str] = []
    subject: str | None = None
    policy: str | None = None
    since: int | None = None
    until: int | None = None
