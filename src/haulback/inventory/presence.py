"""Presence of machines that a look did not see: pure decisions, erring to keep.

A share that is not mounted, a platform that answers half and a machine that somebody deleted look
the same once.  So a look that misses much is not believed before a later look misses it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

import msgspec

from haulback.inventory.records import Entity


class Unreadable(msgspec.Struct, frozen=True):
    """A machine that is there and cannot be read: where its platform keeps it, and why.

    `uuid` is empty where not even that could be read; one that equals `where` may be the name of
    a folder.  An empty `where` is a place that the node did not name.
    """

    where: str
    message: str
    uuid: str = ""


class Look(NamedTuple):
    """A look at a hypervisor, begun at `begun` (epoch ms).

    `by` is the workflow of its task: another attempt of a task is no other look.  `shown` is how
    many machines the platform showed in all, where only a few were looked at; None where nobody
    counted them.
    """

    by: str
    begun: int
    shown: int | None = None


class Verdict(NamedTuple):
    """Guids of machines to hold absent from now on, and of missed ones not believed gone."""

    absent: frozenset[str]
    doubted: frozenset[str]


def judge(
    present: Set[str], missed: Set[str], doubted: Set[str], *, agrees: bool, unshown: int = 0
) -> Verdict:
    """The verdict about the machines that a look missed; all are guids of one hypervisor.

    `present` are all that are held present, `missed` those of them that the look did not see,
    `doubted` those of them that an earlier look missed without being believed.  `agrees`: this
    look is another one and began after the earlier one was taken in.  At least `unshown` of the
    present machines are not shown, whether the look asked for them or not.

    The look is believed when those that it misses for the first time are few among those that
    were not in doubt, and it agrees about the others; else it changes nothing.
    """
    missed, doubted = frozenset(missed & present), frozenset(doubted & present)
    fresh, certain = missed - doubted, len(present - doubted)
    lost = max(len(fresh), min(certain, unshown - len(doubted))) if fresh else 0
    if is_credible(lost, certain) and (agrees or not missed & doubted):
        return Verdict(missed, frozenset())
    return Verdict(frozenset(), missed)


def is_credible(lost: int, of: int) -> bool:
    """Whether so many of a hypervisor's machines may be gone at once: never all of them.

    A single one of several may be gone; of two and more at most half of all.
    """
    return lost == 0 or (lost < of and (lost == 1 or 2 * lost <= of))


class Placed(NamedTuple):
    """Unreadable machines by the guid of the known machine each is, and the rest."""

    known: dict[str, list[Unreadable]]
    unknown: list[Unreadable]


def place(found: Iterable[Unreadable], machines: Iterable[Entity], unseen: Set[str]) -> Placed:
    """Which known machines of a hypervisor the unreadable ones are.

    A uuid says it, or the place where a machine lay when it was last read; `unseen` are the guids
    of present machines that the look did not read, and only those can lie there still.
    """
    known = list(machines)
    by_uuid = {one.uuid: one.guid for one in known}
    by_place: dict[str, list[str]] = {}
    for one in known:
        if one.guid in unseen and one.place:
            by_place.setdefault(one.place, []).append(one.guid)
    placed = Placed({}, [])
    for broken in found:
        guid, is_sure = by_uuid.get(broken.uuid), broken.uuid not in ("", broken.where)
        guids = [guid] if guid else [] if is_sure else by_place.get(broken.where, [])
        for one_of in guids:
            placed.known.setdefault(one_of, []).append(broken)
        if not guids:
            placed.unknown.append(broken)
    return placed


def undecided(unknown: Iterable[Unreadable], unseen: Mapping[str, str]) -> frozenset[str]:
    """Machines that may be one of the `unknown` unreadable ones, and so stay as they are.

    `unseen` maps guids to places.  A machine whose place is known lies there, or is gone: an
    unreadable folder elsewhere is not it.  A machine whose place nobody has told yet may be any
    of the folders whose uuid cannot be read, and such machines cannot be told apart.
    """
    if all(one.uuid for one in unknown):
        return frozenset()
    return frozenset(guid for guid, where in unseen.items() if not where)
