"""Results of the probe of a store, and the party that enforces each guarantee of a destination."""

from __future__ import annotations

from enum import Enum

import msgspec


class EnforcedBy(Enum):
    """The party that enforces a guarantee: the store itself, only Haulback, or neither."""

    STORE = "STORE"
    HAULBACK = "HAULBACK"
    NONE = "NONE"


class StoreProbe(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The results of a probe of a store; the initialisation and each connectivity test run a probe.

    `time` is the end of the last probe, epoch ms.  `exclusiveCreate` is true if a create under an
    existing name is refused; `winners` is the number of the simultaneous `creates` of one name that
    succeeded.  `ranges` is true if reading a part of an object returns the right bytes,
    `listsWrites` if a list shows the last write, `multipart` if an upload in parts creates an
    object exactly once.  `links` is true if a hard link under an existing name is refused.
    `clockOffset` is the number of ms by which the store's clock is ahead of the node's.
    `mayReplace` and `mayDelete` are rights of the credentials that add objects.  None stands for a
    result that was not probed or is not known. `appendOnly` and `immutable` name the party that
    enforces the guarantee.
    """

    time: int
    exclusiveCreate: bool
    singleWriter: bool = False
    creates: int | None = None
    winners: int | None = None
    ranges: bool | None = None
    listsWrites: bool | None = None
    multipart: bool | None = None
    links: bool | None = None
    clockOffset: int | None = None
    mayReplace: bool | None = None
    mayDelete: bool | None = None
    appendOnly: EnforcedBy | None = None
    immutable: EnforcedBy | None = None
