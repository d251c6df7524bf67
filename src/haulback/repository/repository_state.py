"""The state of a repository: announcements, damage records and index files from one pass of
listings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from time import monotonic

from haulback.repository import pending_deletes
from haulback.repository.damage import RepositoryDamage
from haulback.repository.index import Index
from haulback.repository.pending_deletes import PendingDelete
from haulback.repository.segment import Segment

READ_FOLDERS = ("damage", "index")  # folders of a reader, in the order of their listings
WRITE_FOLDERS = ("graves", *READ_FOLDERS)  # a writer lists announcements before the index

YOUNG_SECONDS = 30.0  # seconds


@dataclass(frozen=True)
class RepositoryState:
    """Index files in force, recorded damage, and the pending deletes by object name.

    `graves` are the names of the objects in `graves/`; the state of a reader has none.
    """

    segments: list[Segment]
    damage: RepositoryDamage
    pending: Mapping[str, PendingDelete] = field(default_factory=dict)
    graves: Set[str] = frozenset()
    begun: float = field(default_factory=monotonic)

    @property
    def is_young(self) -> bool:
        """Whether the lists are recent enough for a check that only saves work."""
        return monotonic() - self.begun < YOUNG_SECONDS

    def with_own(self, segments: Sequence[Segment]) -> RepositoryState:
        """The state with index files that this process has stored since."""
        return replace(self, segments=[*self.segments, *segments])

    @property
    def announced(self) -> set[bytes]:
        """Packs that a clean-up may be removing from the index or deleting now."""
        return pending_deletes.announced(self.pending)

    def index(self, without: Set[bytes] = frozenset()) -> Index:
        """The index of the stored chunks, except those in the packs `without` and at damaged
        places.
        """
        return Index(self.segments, without, self.damage)
