"""Decisions about machines that an inventory scan did not show; in doubt a machine is kept.

In one scan, an unmounted share, a platform with a partial answer and deleted machines look alike.
A scan that misses many machines therefore waits until a later scan confirms the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

import msgspec

from haulback.inventory.records import Entity


class UnreadableMachine(msgspec.Struct, frozen=True):
    """A machine that exists but cannot be read, with its location on the platform and the reason.

    `uuid` is empty if the uuid cannot be read; a uuid equal to `where` may be a folder name. An
    empty `where` means that the node reported no location.
    """

    where: str
    message: str
    uuid: str = ""


class HypervisorScan(NamedTuple):
    """An inventory scan of a hypervisor that began at `begun` (epoch ms).

    `by` is the workflow of the scan's task, because a retry of a task does not count as another
    scan.  `shown` is the number of machines that the platform listed in a scan of a few machines,
    None if unknown.
    """

    by: str
    begun: int
    shown: int | None = None


class MissedMachines(NamedTuple):
    """Guids of machines to record as absent, and of missed machines that still count as present."""

    absent: frozenset[str]
    doubted: frozenset[str]


def judge(
    present: Set[str], missed: Set[str], doubted: Set[str], *, agrees: bool, unshown: int = 0
) -> MissedMachines:
    """Decide which machines that a scan missed are absent; all sets contain machine guids of one
    hypervisor.

    `present` are all machines recorded as present, `missed` the machines that the scan did not see,
    `doubted` the machines that an earlier, unconfirmed scan missed.  `agrees` is true if this is
    another scan, which began after the earlier scan was recorded.  At least `unshown` of the
    present machines are missing from the platform's list, even if the scan did not ask for them.

    The scan is accepted if it newly misses few of the machines not in doubt, and if it confirms the
    doubted machines.  A scan that is not accepted changes no machine.
    """
    missed, doubted = frozenset(missed & present), frozenset(doubted & present)
    fresh, certain = missed - doubted, len(present - doubted)
    lost = max(len(fresh), min(certain, unshown - len(doubted))) if fresh else 0
    if is_credible(lost, certain) and (agrees or not missed & doubted):
        return MissedMachines(missed, frozenset())
    return MissedMachines(frozenset(), missed)


def is_credible(lost: int, of: int) -> bool:
    """Whether a hypervisor may lose `lost` of `of` machines at once; it may never lose all of them.

    A hypervisor of several machines may lose one machine; two or more machines only up to half of
    all machines.
    """
    return lost == 0 or (lost < of and (lost == 1 or 2 * lost <= of))


class Placed(NamedTuple):
    """Unreadable machines by the guid of the matching known machine, and the unmatched rest."""

    known: dict[str, list[UnreadableMachine]]
    unknown: list[UnreadableMachine]


def place(
    unreadable_machines: Iterable[UnreadableMachine], machines: Iterable[Entity], unseen: Set[str]
) -> Placed:
    """Match unreadable machines with a hypervisor's known machines, by uuid or by last known
    location.

    `unseen` are guids of present machines that the scan did not read; only these are matched by
    location.
    """
    known = list(machines)
    by_uuid = {item.uuid: item.guid for item in known}
    by_place: dict[str, list[str]] = {}
    for item in known:
        if item.guid in unseen and item.place:
            by_place.setdefault(item.place, []).append(item.guid)
    placed = Placed({}, [])
    for broken in unreadable_machines:
        guid, is_sure = by_uuid.get(broken.uuid), broken.uuid not in ("", broken.where)
        guids = [guid] if guid else [] if is_sure else by_place.get(broken.where, [])
        for one_of in guids:
            placed.known.setdefault(one_of, []).append(broken)
        if not guids:
            placed.unknown.append(broken)
    return placed


def undecided(unknown: Iterable[UnreadableMachine], unseen: Mapping[str, str]) -> frozenset[str]:
    """Guids of machines that may be among the `unknown` unreadable machines, and stay unchanged.

    `unseen` maps guids to locations.  A machine with a known location either is still there or was
    deleted: an unreadable folder elsewhere is not that machine.  A machine without a known location
    may be any folder whose uuid cannot be read.
    """
    if all(one.uuid for one in unknown):
        return frozenset()
    return frozenset(guid for guid, where in unseen.items() if not where)
