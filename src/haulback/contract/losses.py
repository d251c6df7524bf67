"""The losses that an operation would cause: the answer of `dryRun=true`."""

from __future__ import annotations

import msgspec

from haulback.wire import Named

SHOWN = 200  # objects that an answer lists; `total` and `counts` cover all objects


class LostItem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An object that an operation affects, and its fate, such as *removed*, *given up* or *kept*.

    `kind` is the type of the object in words, such as backup.  `size` in bytes, `time` in epoch ms.
    `place` is the destination of a backup, `note` a remark.
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
    """The number of objects of one kind and one fate, and the sum of their bytes."""

    kind: str
    fate: str
    count: int
    size: int = 0


class Losses(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The objects that an operation would remove or change irrevocably; a dry run changes nothing.

    `items` lists at most 200 objects, `total` and `counts` cover all objects, `size` is the sum of
    their bytes.  `notes` are sentences about objects that stay, and about ways to keep more.
    """

    dryRun: bool = True
    items: list[LostItem] = []
    total: int
    counts: list[LossCount] = []
    size: int = 0
    notes: list[str] = []
