"""Every class of object with every fault and any following action: no sound data is ever lost.

`HAULBACK_CASES=SEED:COUNT` runs other cases than the commit's own share; `scripts/soak damage` runs
all of them.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from haulback.errors import HaulbackError
from tests import shares
from tests.unit.repository.damaged_site import (
    CLASSES,
    FAULTS,
    Site,
    hurt_backups,
    limits,
    make,
    strike,
)

PAIRS = [(kind, fault) for kind in CLASSES for fault in FAULTS]
# Faults without damage.  A deleted pending delete or announcement is written again by the next
# clean-up; the two copies of the configuration replace each other; a lower revision has no effect.
HARMLESS = {
    ("grave", "delete"),
    ("announcement", "delete"),
    ("configuration", "swap"),
    ("configuration copy", "swap"),
    ("revision", "duplicate"),
}
# The next verify finds the content of a deleted damage record by itself, unless the record cleared
# damage.  A power failure may also leave the newest roll without its copy; an older roll without a
# copy counts as damage.
UNCERTAIN = {("damage record", "delete"), ("roll copy", "delete")}
STRANGE = {("configuration", "duplicate"), ("configuration copy", "duplicate")}
FOLLOWING = ("restore", "increment", "full", "merge", "clean", "verify", "record", "repair")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    site = make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)
    assert site.verify().ok
    assert site.restoring() == set(site.held)
    return site


def follow(site: Site, text: str, chance: random.Random) -> None:
    """Run one action on a damaged repository, which may be refused only with a Haulback error.

    An increment shares the data of its base; undetected damage in the base is left for verify to
    find.
    """
    try:
        if text == "restore":
            site.restoring()
        elif text == "increment":
            site.increment(chance.randrange(250) * 1024, chance.getrandbits(30))
        elif text == "full":
            assert site.restores(site.full())
        elif text == "merge":
            site.open().merge_index(site.room("m"))
        elif text == "clean":
            site.clean()
        elif text in ("verify", "record"):
            site.verify(record=text == "record")
        else:
            site.repair()
    except HaulbackError as error:
        print(f"{text} was refused: {error.message}")


def is_found(site: Site, kind: str, fault: str, merged: bool) -> None:
    report = site.verify()
    if (kind, fault) in STRANGE:
        assert (report.ok, report.strangers) == (True, ["haulback.json.1"]) or (
            report.strangers == ["haulback.copy.json.1"]
        )
    elif (kind, fault) in HARMLESS:
        assert report.ok, report.findings
    elif (kind, fault) not in UNCERTAIN and not merged:
        assert not report.ok


@pytest.mark.parametrize("seed", shares.cases("damage").seeds)
def test_after_any_damage_and_whatever_follows_all_that_is_whole_restores(whole, tmp_path, seed):
    play(whole, tmp_path / "r", seed)


def play(whole: Site, root: Path, seed: int) -> None:
    """Damage a copy of a whole site, run some actions, and heal the copy."""
    chance = random.Random(seed)
    kind, fault = PAIRS[seed % len(PAIRS)]
    with limits(seed + 1):
        site = whole.copy(root)
        merged = kind == "merged segment" and chance.random() < 0.5
        if merged:  # the replaced files still exist besides it
            site.open().merge_index(site.room("m"))
        before = {n: site.path(n).read_bytes() for n in site.names("packs")}
        hit, names = strike(site, kind, fault, chance)
        told = f"seed {seed}: {kind}, {fault}, {hit.name}"
        is_found(site, kind, fault, merged)
        hurt = hurt_backups(site, names, before)
        restoring = site.restoring()
        assert restoring >= set(site.held) - hurt, told
        first = site.last
        for item in chance.choices(FOLLOWING, k=chance.randrange(1, 4)):
            told += f", {item}"
            follow(site, item, chance)
            now = site.restoring()
            assert now >= restoring, told
            restoring = now
        heal = chance.choice([heals_by_a_full, heals_by_an_increment])
        heal(site, first, names, f"{told}; {heal.__name__}")
        assert site.restoring() >= restoring, told
    shutil.rmtree(root)


def heals_by_a_full(site: Site, last: str, names: set[str], told: str) -> None:
    """After a full backup of the same content and two clean-ups the machine restores, and so does
    the old backup.
    """
    old = site.held[site.held[last].manifest.parent].manifest.parent
    site.disk.data[:] = site.held[old].data
    new = site.full()
    assert site.restores(new), told
    # A page names groups: if its chunks are stored twice, the new page may name the other groups.
    is_cut_alike = names.isdisjoint(site.page_packs)
    clean_twice(site, new, old if is_cut_alike else new, names, told)


def heals_by_an_increment(site: Site, last: str, names: set[str], told: str) -> None:
    """Once damage is recorded, a backup stores the missing data of its base again, with the same
    chunk borders.
    """
    site.disk.data[:] = site.held[last].data
    follow(site, "record", random.Random(0))
    try:
        new = site.mend(site.open().manifest(last))
    except HaulbackError:
        new = site.full()
    # Without the pages of the base its chunk borders are unknown.
    is_cut_alike = names.isdisjoint(site.page_packs)
    clean_twice(site, new, last if is_cut_alike else new, names, told)


def clean_twice(site: Site, new: str, old: str, names: set[str], told: str) -> None:
    for _ in range(2):
        follow(site, "clean", random.Random(0))
    assert site.restores(new), told
    if len(names) == 1 and f"manifests/{old}" not in names:
        assert site.restores(old), f"{told}: the old backup is not healed"
