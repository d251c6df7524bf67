"""Losses by an operation: the answer of `dryRun=true`."""

from __future__ import annotations

import msgspec

from haulback.wire import Named

SHOWN = 200  # items that an answer names; `total` and `counts` tell of all


class LostItem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An object and its fate, such as *removed*, *given up* or *kept*.

    `kind` is the type of the object in words, like backup.  `size` in bytes, `time` in epoch ms.
    `place` is where a backup lies, `note` says more.
    """

    kind: str
    fate: str
    guid: str = ""
    name: str = ""
    size: int | None = None
    time: int | None = None
    place: Named | None = None
    note: str = ""


class LossCount(msgspec.Struct, kw_only=True):
    """The number of objects of one kind that have one fate, and their bytes."""

    kind: str
    fate: str
    count: int
    size: int = 0


class Losses(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The objects that an operation removes or changes for good; the dry run changed nothing.

    `items` names at most 200 of them, `total` and `counts` tell of all, `size` is the sum of their
    bytes.  `notes` are sentences about what stays, and about how to keep more.
    """

    dryRun: bool = True
    items: list[LostItem] = []
    total: int
    counts: list[LossCount] = []
    size: int = 0
    notes: list[str] = []
