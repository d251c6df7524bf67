"""The choice between source and base for the unchanged bytes of chunks that changed in part.

The source supplies at most a given number of these bytes; the base supplies the rest and costs a
request for each run of neighbouring groups.  The base therefore supplies the runs that hold most of
these bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from haulback.repository.expected_groups import GAP_BYTES, RUN_BYTES
from haulback.repository.pack import PACK_ID_BYTES, GroupLocation
from haulback.units import MIB

PlaceOf = Callable[[bytes], GroupLocation | None]
# Numbers of loaded bytes that count as much as one request: the first takes as long to load as a
# request; the larger ones are used if more than a few requests would be needed.
_REQUEST_BYTES = (4 * MIB, 16 * MIB, 64 * MIB)
_FEW = 7
# Groups among which every possible run is compared; the time grows with the square of the number.
_MANY = 128
_GROUP = struct.Struct(">8sI")  # a group id: its session, and its number in the session


def written_place(group: bytes) -> GroupLocation:
    """A substitute for the unknown place of a group: groups of one session are neighbours
    in the order in which they were written.
    """
    session, number = _GROUP.unpack(group)
    return GroupLocation(session.ljust(PACK_ID_BYTES, b"\0"), number * MIB, MIB)


class _Run(NamedTuple):
    """Neighbouring groups that one request loads: the needed bytes that they hold, and the length
    of the load.
    """

    groups: tuple[bytes, ...]
    needed: int
    length: int


def groups_of_base(needs: Mapping[bytes, int], allowed: int, place_of: PlaceOf) -> set[bytes]:
    """The groups that the base supplies; all other groups need at most `allowed` bytes of the
    source. `needs` has the number of bytes that are needed from each group.
    """
    lacking = sum(needs.values()) - allowed
    placed = sorted((place_of(group) or written_place(group), group) for group in needs)
    if len(placed) > _MANY:
        apart = _best_first(_apart(placed, needs), _REQUEST_BYTES[1])
        return {group for run in _enough(apart, lacking) for group in run.groups}
    chosen: list[_Run] = []
    for request_bytes in _REQUEST_BYTES:
        chosen = _chosen(placed, needs, lacking, request_bytes)
        if len(chosen) <= _FEW:
            break
    return {group for run in chosen for group in run.groups}


def _chosen(
    placed: Sequence[tuple[GroupLocation, bytes]],
    needs: Mapping[bytes, int],
    lacking: int,
    request_bytes: int,
) -> list[_Run]:
    """Runs with at least the `lacking` bytes, the best first."""
    chosen: list[_Run] = []
    while lacking > 0:
        most = lacking
        run = max(
            _runs(placed, needs),
            key=lambda run: min(run.needed, most) / (request_bytes + run.length),
        )
        placed = [item for item in placed if item[1] not in run.groups]
        lacking -= run.needed
        chosen.append(run)
    for run in sorted(chosen, key=lambda run: run.needed):
        if lacking + run.needed <= 0:  # later runs made an earlier one superfluous
            lacking += run.needed
            chosen.remove(run)
    return chosen


def _runs(
    placed: Sequence[tuple[GroupLocation, bytes]], needs: Mapping[bytes, int]
) -> Iterator[_Run]:
    """Every run of neighbours that one request may load."""
    for first in range(len(placed)):
        yield from _runs_from(placed, first, needs)


def _runs_from(
    placed: Sequence[tuple[GroupLocation, bytes]], first: int, needs: Mapping[bytes, int]
) -> Iterator[_Run]:
    """The runs that begin with one group, the shortest first."""
    begin = placed[first][0]
    needed, end, groups = 0, begin.offset, tuple[bytes, ...]()
    for at in range(first, len(placed)):
        place, group = placed[at]
        is_near = place.pack == begin.pack and place.offset <= end + GAP_BYTES
        if not is_near or (groups and place.offset + place.length > begin.offset + RUN_BYTES):
            break
        end, needed = place.offset + place.length, needed + needs[group]
        groups = (*groups, group)
        yield _Run(groups, needed, end - begin.offset)


def _apart(
    placed: Sequence[tuple[GroupLocation, bytes]], needs: Mapping[bytes, int]
) -> Iterator[_Run]:
    """Runs that share no group, each as long as one request may load."""
    at = 0
    while at < len(placed):
        *_, run = _runs_from(placed, at, needs)
        yield run
        at += len(run.groups)


def _best_first(runs: Iterable[_Run], request_bytes: int) -> list[_Run]:
    """Runs by the needed bytes for each byte of their loads and requests."""
    return sorted(runs, key=lambda run: run.needed / (request_bytes + run.length), reverse=True)


def _enough(runs: Iterable[_Run], lacking: int) -> Iterator[_Run]:
    """The first runs that hold the `lacking` bytes together."""
    for run in runs:
        if lacking <= 0:
            break
        lacking -= run.needed
        yield run
