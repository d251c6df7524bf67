"""Reading chunks: groups are fetched, authenticated and decoded once, and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from haulback.destinations.protocol import Destination
from haulback.errors import BaseGone, Damaged, HaulbackError, NotFound
from haulback.repository.group import Group, decode
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.pack import name_of
from haulback.repository.pages import Ref

_GROUPS_KEPT = 48  # at most 1 MiB each


class Reader:
    """Random access to stored chunks and pages; threads may share one."""

    def __init__(self, destination: Destination, index: Index, keys: Keys) -> None:
        self._destination, self._index, self._keys = destination, index, keys
        self._kept: OrderedDict[bytes, Group] = OrderedDict()
        self._lock = Lock()

    def group(self, group: bytes) -> Group:
        """A decoded group.  Raises BaseGone when no index knows it, Damaged when not whole."""
        with self._lock:
            if kept := self._kept.get(group):
                self._kept.move_to_end(group)
                return kept
        fetched = self.fetch(group)
        with self._lock:
            self._kept[group] = fetched
            while len(self._kept) > _GROUPS_KEPT:
                self._kept.popitem(last=False)
        return fetched

    def fetch(self, group: bytes) -> Group:
        missing: HaulbackError = BaseGone(
            f"group {group.hex()} is in no index segment", group=group.hex()
        )
        for place in self._index.places(group):
            name = name_of(place.pack)
            try:
                record = self._destination.load(name, place.offset, place.length)
            except NotFound:
                missing = Damaged(f"{name} is missing", name=name)
            else:
                return decode(record, group, self._keys)
        raise missing

    def chunk(self, ref: Ref) -> memoryview:
        """The bytes of a chunk, checked against its id.  Raises BaseGone or Damaged."""
        try:
            return self._checked(ref)
        except (BaseGone, Damaged):
            # A clean-up moves chunks into other groups; the map's hint is then out of date.
            group = self._index.find([ref.id])[0]
            if group in (None, ref.group):
                raise
            return self._checked(Ref(ref.id, group or b""))

    def _checked(self, ref: Ref) -> memoryview:
        data = self.group(ref.group).chunk(ref.id)
        if self._keys.chunk_id(data) != ref.id:
            raise Damaged(f"chunk {ref.id.hex()} is not what was stored")
        return data
