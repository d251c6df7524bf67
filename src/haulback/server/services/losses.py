"""Lists of the objects that an operation would remove, for questions and dry runs."""

from __future__ import annotations

from haulback.contract.losses import SHOWN, LossCount, Losses, LostItem
from haulback.server.store.loss_rows import LossRows


class Tally:
    """Collects losses: it lists the first items of each kind, and counts all items."""

    def __init__(self) -> None:
        self._items: list[LostItem] = []
        self._counts: dict[tuple[str, str], LossCount] = {}
        self._notes: list[str] = []

    def add(self, rows: LossRows) -> int:
        """Add objects of one kind and one fate; returns their number."""
        for item in rows.items[:1]:
            self._count(item, rows.total, rows.size)
        self._items += rows.items
        return rows.total

    def item(self, kind: str, fate: str, guid: str = "", name: str = "", note: str = "") -> None:
        """Add one object."""
        self.loss(LostItem(kind=kind, fate=fate, guid=guid, name=name, note=note))

    def loss(self, item: LostItem) -> None:
        """Add one object."""
        self._count(item, 1, item.size or 0)
        if len(self._items) < SHOWN:
            self._items.append(item)

    def note(self, sentence: str) -> None:
        """Add a sentence about objects that stay, or about ways to keep more."""
        self._notes.append(sentence)

    def _count(self, item: LostItem, count: int, size: int) -> None:
        key = (item.kind, item.fate)
        known = self._counts.setdefault(key, LossCount(kind=item.kind, fate=item.fate, count=0))
        known.count += count
        known.size += size

    @property
    def losses(self) -> Losses:
        """The answer of a dry run."""
        counts = list(self._counts.values())
        return Losses(
            items=self._items[:SHOWN],
            total=sum(item.count for item in counts),
            counts=counts,
            size=sum(item.size for item in counts),
            notes=self._notes,
        )
