"""The choice between source and base for the unchanged bytes of chunks that changed in part.

The source supplies at most a given number of these bytes; the base supplies the rest and costs a
request for each run of neighbouring groups.  So the base supplies the runs that hold most of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from haulback.repository.expected_groups import GAP_BYTES, RUN_BYTES
from haulback.repository.pack import PACK_ID_BYTES, GroupLocation
from haulback.units import MIB

PlaceOf = Callable[[bytes], GroupLocation | None]
_REQUEST_BYTES = 4 * MIB  # bytes of a load that take as long as the request itself
_GROUP = struct.Struct(">8sI")  # a group id: its session, and its number in the session


def written_place(group: bytes) -> GroupLocation:
    """A place that stands for the unknown place of a group: groups of one session are neighbours
    in the order in which they were written.
    """
    session, number = _GROUP.unpack(group)
    return GroupLocation(session.ljust(PACK_ID_BYTES, b"\0"), number * MIB, MIB)


class _Run(NamedTuple):
    """Neighbouring groups that one request loads, and the needed bytes that they hold."""

    groups: tuple[bytes, ...]
    needed: int
    cost: float


def groups_of_base(needs: Mapping[bytes, int], allowed: int, place_of: PlaceOf) -> set[bytes]:
    """The groups that the base supplies, so that all others need at most `allowed` bytes of the
    source; `needs` has the bytes that are needed of each group.
    """
    lacking = sum(needs.values()) - allowed
    placed = sorted((place_of(group) or written_place(group), group) for group in needs)
    runs: list[_Run] = []
    while lacking > 0:
        most = lacking
        run = max(_runs(placed, needs), key=lambda run: min(run.needed, most) / run.cost)
        placed = [item for item in placed if item[1] not in run.groups]
        lacking -= run.needed
        runs.append(run)
    for run in sorted(runs, key=lambda run: run.needed):
        if lacking + run.needed <= 0:  # later runs made an earlier one superfluous
            lacking += run.needed
            runs.remove(run)
    return {group for run in runs for group in run.groups}


def _runs(
    placed: Sequence[tuple[GroupLocation, bytes]], needs: Mapping[bytes, int]
) -> Iterator[_Run]:
    """Every run of neighbours that one request may load."""
    for first, (begin, _) in enumerate(placed):
        needed, end, groups = 0, begin.offset, tuple[bytes, ...]()
        for place, group in placed[first:]:
            is_near = place.pack == begin.pack and place.offset <= end + GAP_BYTES
            if not is_near or (groups and place.offset + place.length > begin.offset + RUN_BYTES):
                break
            end, needed = place.offset + place.length, needed + needs[group]
            groups = (*groups, group)
            yield _Run(groups, needed, 1 + (end - begin.offset) / _REQUEST_BYTES)
