"""Sound backups stay restorable while objects are damaged, vanish and return during backups and
clean-ups.

`present` are the backups that are PRESENT in the catalogue; `hurt` are the backups with a
damaged object of their own, until a repair heals them.  All other backups restore at any time.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from haulback.durable_files import DurableFiles
from haulback.errors import BaseGone, HaulbackError, Missing
from haulback.repository.backup_loss import check_backup
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.repair import RepairContext, repair
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.testing.crash import CrashingDisk
from tests import shares
from tests.conftest import SECRET
from tests.unit.repository.scene import restored_disk
from tests.unit.repository.test_clean_up_histories import (
    MEANWHILE,
    Cleaning,
    failing,
    machines,
    seeds,
)

FOLDERS = ("packs", "index", "manifests", "graves", "rolls", "rolls-copy", "tombstones", "damage")
meanwhile = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.sampled_from((*MEANWHILE, "damage", "damage", "verify", "repair")),
        machines,
        seeds,
    ),
    max_size=4,
)
struck = st.sampled_from(("packs", "packs", "packs", *FOLDERS[1:], "haulback.json"))
faults = st.sampled_from(("flip", "delete", "truncate"))
choices = st.integers(0, 1 << 20)


class Ailing(Cleaning):
    """A repository that is damaged step by step."""

    def set_up(self):
        self.hurt = set()
        self.packs_were_struck = False
        self.patches.append(patch("haulback.repository.pack_verification.ALWAYS", 1000))
        self.patches[-1].start()
        for name in ("r", "v"):
            (self.root / name).mkdir()
        for machine, seed in ((0, 0), (1, 0), (0, 1)):  # an object to damage exists
            self.do("back up", self.machines[machine], seed)

    def others(self, plan):
        return [(at, lambda what=what: self.let(what)) for at, what in super().others(plan)]

    def let(self, what):
        """Run an action of another task, which may be refused only with a Haulback error."""
        with suppress(HaulbackError):
            what()

    def do(self, what, machine, seed):
        if what == "damage":
            self.strike(FOLDERS[seed], ("flip", "delete", "truncate")[seed % 3], seed * 7919)
        elif what == "verify":
            self.verify_and_record()
        elif what == "repair":
            self.repair(None)
        else:
            super().do(what, machine, seed)

    def restores(self, backup):
        _manifest, data = self.present[backup]
        try:
            repository = self.open()
            found = restored_disk(repository, repository.manifest(backup), self.pool)
        except HaulbackError:
            return False
        assert found.data == data, "a wrong byte was restored in silence"
        return True

    def strike(self, folder, fault, choice):
        """Change one object; backups that no longer restore count as hurt."""
        root = self.root / "d"
        if folder == "haulback.json":
            both = [root / folder, root / "haulback.copy.json"]
            paths = both[:1] if all(path.exists() for path in both) else []
        else:
            paths = sorted(path for path in (root / folder).rglob("*") if path.is_file())
        whole = self.present.keys() - self.hurt
        for path in paths[choice % max(len(paths), 1) :][:1]:
            spoil(path, fault, choice)
            self.packs_were_struck |= folder == "packs"
            hurt = {backup for backup in whole if not self.restores(backup)}
            assert hurt <= self.may_hurt(folder, path.name)
            self.hurt |= hurt

    def may_hurt(self, folder, leaf):
        """The backups that may lack data once an object of a folder is damaged.

        A damaged index file is rebuilt from the packs, as long as their directories are intact.
        """
        if folder == "packs" or (folder == "index" and self.packs_were_struck):
            return set(self.present)
        return {leaf} if folder == "manifests" else set()

    def export(self, machine, base, seed, io=None, plan=()):
        """Export as a node does: missing data in the base makes the backup a full one."""
        if base is not None and base.backup in self.hurt:
            base = None
        with suppress(HaulbackError):
            super().export(machine, base, seed, io, plan)

    def store_waiting(self, machine, io=None, plan=()):
        """Store; a backup that shares undetected damage of its base is hurt from the start."""
        before = set(self.present)
        try:
            super().store_waiting(machine, io, plan)
        except HaulbackError as error:
            if not isinstance(error, BaseGone):
                machine.waiting = None
        self.hurt |= {backup for backup in set(self.present) - before if not self.restores(backup)}

    def merge(self):
        with suppress(HaulbackError):
            super().merge()

    def forget(self, choice):
        super().forget(choice)
        self.hurt &= set(self.present)

    def clean(self, io=None, plan=(), watched=False, *, expecting=True, given_up=()):
        shutil.rmtree(self.root / "c")
        (self.root / "c").mkdir()
        expected = (lambda: sorted(self.present)) if expecting else None
        orders = CleanupOrder(expected=expected, given_up=list(given_up), now=lambda: 5)
        before = self.names() if not plan else set()
        with self.power(io):
            try:
                repository = self.open(io, plan, False)
                resources = Resources(self.pool, io or DurableFiles())
                return clean_up(repository, self.root / "c", self.pins, resources, orders)
            except Missing:
                assert before <= self.names(), "a clean-up that misses a backup deletes nothing"
            except HaulbackError:
                pass
        return None

    def names(self):
        """All object names in the folders that hold backups."""
        root = self.root / "d"
        folders = ("packs", "index", "manifests")
        return {path for folder in folders for path in (root / folder).rglob("*")}

    def verify_and_record(self):
        verify(
            self.open(), Depth.DATA, Resources(self.pool), CheckOrder(record=lambda: ("a test", 1))
        )

    def repair(self, io):
        shutil.rmtree(self.root / "r")
        (self.root / "r").mkdir()
        with self.power(io), suppress(HaulbackError):
            context = RepairContext(
                self.root / "r",
                Resources(self.pool),
                lambda: ("a test", 1),
                (SECRET,),
                self.pins,
            )
            repair(self.open(io, (), False), context, apply=True)

    @rule(strikes=st.lists(st.tuples(struck, faults, choices), min_size=1, max_size=3))
    def striking(self, strikes):
        for folder, fault, choice in strikes:
            self.strike(folder, fault, choice)

    @rule(fault=faults, choice=choices)
    def striking_a_pack(self, fault, choice):
        self.strike("packs", fault, choice)

    @rule()
    def verifying(self):
        with suppress(HaulbackError):
            self.verify_and_record()

    @rule(fail_at=failing, seed=seeds)
    def repairing(self, fail_at, seed):
        self.repair(CrashingDisk(fail_at, seed))

    @rule(fail_at=failing, seed=seeds, plan=meanwhile, expecting=st.booleans())
    def cleaning(self, fail_at, seed, plan, expecting):
        self.clean(CrashingDisk(fail_at, seed), self.others(plan), expecting=expecting)

    @rule(folder=st.sampled_from(FOLDERS))
    def a_folder_that_is_away_for_a_clean_up(self, folder):
        path = self.root / "d" / folder
        if not path.exists():
            return
        path.rename(self.root / "away")
        before, needed = self.names(), bool(self.present)
        self.clean()
        after = self.names()
        self.bring_back(path)
        if folder == "manifests" and needed:
            assert before <= after, "a clean-up that misses a backup deletes nothing"

    def bring_back(self, path):
        """Restore the folder's former objects, besides those created since."""
        made = [one for one in path.rglob("*") if one.is_file()] if path.exists() else []
        for one in made:
            there = self.root / "away" / one.relative_to(path)
            if not there.exists():
                there.parent.mkdir(exist_ok=True)
                one.rename(there)
        shutil.rmtree(path, ignore_errors=True)
        (self.root / "away").rename(path)

    @rule()
    def confirming_that_what_is_missing_is_lost(self):
        listed = {path.name for path in (self.root / "d" / "manifests").glob("*")}
        lost = [backup for backup in self.hurt if backup not in listed]
        for backup in lost:
            del self.present[backup]
        self.hurt -= set(lost)
        self.clean(given_up=lost)

    @invariant()
    def what_is_present_restores(self):
        self.hurt = {backup for backup in self.hurt if not self.is_healed(backup)}
        repository = self.open()
        for backup in self.present.keys() - self.hurt:
            check_backup(repository, backup)

    def is_healed(self, backup):
        """A place that can be read again keeps its record until VERIFY, so that a checked restore
        is refused.
        """
        with suppress(HaulbackError):
            check_backup(self.open(), backup)
            return self.restores(backup)
        return False

    def everything_restores(self):
        for backup in self.present.keys() - self.hurt:
            assert self.restores(backup)

    def space_comes_back(self):
        """After damage is recorded every machine can be backed up, and the backups survive
        clean-ups.
        """
        with suppress(HaulbackError):
            self.verify_and_record()
        self.repair(None)
        for machine in self.machines:
            machine.waiting = None
            before = set(self.present)
            self.export(machine, None, 1)
            self.store_waiting(machine)
            new = set(self.present) - before
            assert len(new) == 1
            assert not new & self.hurt
        for _ in range(2):
            self.clean()
        self.everything_restores()
        self.repair(None)

    def teardown(self):
        if hasattr(self, "temp"):
            try:
                self.everything_restores()
                self.space_comes_back()
                self.everything_restores()
            finally:
                self.end()


def spoil(path, fault, choice):
    raw = bytearray(path.read_bytes())
    path.unlink()
    if raw and fault == "flip":
        raw[choice % len(raw)] ^= 4
    elif raw and fault == "truncate":
        del raw[choice % len(raw) :]
    if fault != "delete":
        path.write_bytes(raw)


TestAiling = Ailing.TestCase
TestAiling.settings = settings(max_examples=shares.cases("histories").count, stateful_step_count=25)
