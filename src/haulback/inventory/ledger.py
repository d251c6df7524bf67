"""What starting and finishing a task may change; a store implements it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from haulback.inventory.alarms import AlarmKind
from haulback.inventory.presence import Look, Unreadable
from haulback.inventory.records import Base, Entity, Hypervisor, Place, Snapshot, Volume
from haulback.wire import Named


class Ledger(Protocol):
    """What starting and finishing a task may change, all in that very transaction."""

    now: int

    def backup_started(self, backup: str) -> None:
        """An export of it runs."""

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        """An export is complete in staging."""

    def described(
        self, backup: str, files: list[dict[str, Any]], definition: dict[str, Any]
    ) -> None:
        """What a backup holds: its disks, and the machine around them."""

    def became(self, task: Any, kind: str, warnings: list[str]) -> None:
        """The backup of a task is of another type than before: task, follower and backup say so."""

    def warned(self, backup: str, warnings: list[str]) -> None: ...

    def consistent(self, backup: str, how: str | None) -> None:
        """How the machine stood at the moment of the snapshot."""

    def contains(self, backup: str, volumes: list[Volume]) -> None:
        """The file systems of a backup."""

    def mounted(self, mount: str, found: dict[str, Any], volumes: list[Volume]) -> None:
        """A node shares a backup: it has been read, and shows these file systems."""

    def mount_moved(self, mount: str, state: str) -> None:
        """A share is wanted, is over, or never came to be."""

    def mount_until(self, mount: str, moment: int, *, if_due: bool = False) -> None:
        """What is shared is to be over at a moment (epoch ms); `if_due`: if its time was over."""

    def runs_from(self, mount: str, hypervisor: str, machine: str) -> None:
        """A machine, by its uuid on its platform, needs what is shared."""

    def verified(self, backup: str) -> None:
        """All of it was read back and is what was stored."""

    def proved(self, backup: str, evidence: dict[str, Any], task: Any) -> None:
        """It came up; the evidence is signed and kept."""

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        """A backup exists on its destination."""

    def backup_partial(self, backup: str, reason: str) -> None:
        """It may be there, but nothing proves that it can be restored."""

    def backup_failed(self, backup: str, reason: str) -> None: ...

    def timed(self, task: Any) -> None:
        """How long a task of a backup waited and ran."""

    def promote(self, base: Base) -> None:
        """From now on increments build on `base`."""

    def initialised(self, destination: str, repository: str) -> None: ...

    def space(self, destination: str, total: int | None, free: int | None) -> None:
        """Bytes of a destination, as a node saw them; nothing where it did not say."""

    def remove(self, backups: Iterable[str], why: str) -> None:
        """Decide that backups go: from now on nobody may restore them or build on them."""

    def gone(self, backups: Iterable[str]) -> None:
        """A node has removed them."""

    def machines_gone(self, hypervisor: str, uuids: Iterable[str], look: Look) -> None:
        """A look at a few machines did not find these; see `presence.judge`."""

    def reunited(self, hypervisor: str) -> None:
        """A machine that went from one host of a manager to another is still the same."""

    def surrounded(
        self, hypervisor: str, networks: list[Place] | None, pools: list[Place] | None
    ) -> None:
        """All networks and storage pools of a platform; None: it could not tell."""

    def lives_on(self, entity: str, hypervisor: str) -> None:
        """A machine is somewhere else now, and still the same."""

    def snapshot_taken(self, taken: Snapshot) -> None:
        """The platform holds it; the same again changes nothing."""

    def snapshots_gone(self, entity: str, names: Iterable[str]) -> None:
        """The platform no longer holds them."""

    def snapshots_seen(
        self, hypervisor: str, machines: Mapping[str, Mapping[str, int]], *, since: int
    ) -> None:
        """All that a look begun at `since` found on machines: by uuid, times (epoch ms) by name.

        What an attempt of ours left is not recorded; it goes with the next clean-up.
        """

    def snapshots_left(
        self, node: str, found: Mapping[str, Mapping[str, Mapping[str, int]]], *, since: int
    ) -> None:
        """The same of a node's hypervisors, by their guids."""

    def void_bases(self, entity: str) -> None:
        """What was recorded of an entity's changes is no longer true: the next backup is full."""

    def forget_entity(self, entity: str) -> None:
        """The record of an entity that has no data left, and its history."""

    def save_hypervisor(self, record: Hypervisor) -> None:
        """Keep a hypervisor that has answered for the first time; a taken name gets a number."""

    def restore_moved(self, job: str, status: str, info: str | None, task: Any) -> None:
        """A restore job begins, goes on or ends."""

    def alarm(self, kind: AlarmKind, subject: Named, text: str, details: dict[str, Any]) -> None:
        """Raise an alarm, or see it again: then it keeps its age, and takes text and details.

        An alarm about a subject that is gone is not raised.
        """

    def all_clear(self, kind: AlarmKind, subject: str) -> None:
        """End the alarm of this kind about a subject's guid, if there is one."""

    def expect(self, task: str, destination: str, *, forgotten: bool = True) -> None:
        """Fix the backups of a destination that a task must find.

        Without `forgotten`, missing backups that a person has given up are left out.
        """

    def expected_over(self, task: str) -> None:
        """Forget what a task had to find: the task is over."""

    def verified_share(self, destination: str, cursor: str, *, since: int, is_round: bool) -> None:
        """Note how far a destination is read: up to the pack `cursor`, or to the last of all.

        `since` (epoch ms) is the start of the task.  After a whole round the backups that were
        stored before it count as verified.
        """

    def verify_ended(self, destination: str) -> None: ...

    def cleanup_blocked(self, task: Any, why: str) -> None:
        """A clean-up deleted nothing: an alarm with the bytes that wait for it."""

    def found_again(self, task: Any) -> None:
        """A clean-up found every backup that it had to: those called missing are there."""

    def lost_for_good(self, backups: Iterable[str]) -> None:
        """A clean-up has given up backups whose loss was confirmed: they are over."""

    def inventory(
        self,
        hypervisor: str,
        machines: Iterable[Entity],
        *,
        complete_since: int | None,
        by: str = "",
        unreadable: Sequence[Unreadable] = (),
    ) -> None:
        """Upsert by platform uuid.

        `complete_since`: when the look began (epoch ms) that was to see all there are, None for
        one at a few.  Machines that were not seen since then, and those that come with `present`
        false, are judged by `presence.judge`; `by` is the look's workflow.  `unreadable` ones are
        there: they stay, and people are told.
        """
