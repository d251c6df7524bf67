"""Catalogue extracts: the newest facts are read back, whichever object is lost."""

from __future__ import annotations

import random
from unittest.mock import patch

import msgspec
import pytest
import zstandard

from haulback.contract.catalogue import CatalogueItem
from haulback.destinations.folder import Folder
from haulback.repository import extracts
from haulback.repository.extracts import ExtractOrigin
from haulback.repository.repository import Repository
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import DAY_MS
from tests import shares
from tests.conftest import SECRET

NOW = 1_800_000_000_000
CASES = shares.cases("catalogue")


def item(guid: str, kind: str = "backup", **facts: object) -> CatalogueItem:
    return CatalogueItem(kind, guid, facts)


def write(repository: Repository, *items: CatalogueItem, at: int = NOW, stored: str = ""):
    origin = ExtractOrigin(f"attempt-{at}", at, "server", "name")
    return repository.extracts.write(origin, items, lambda guid: guid in stored)


def facts(repository: Repository) -> dict[str, dict[str, object]]:
    return {found.guid: found.facts for found in repository.extracts.read().items("backup")}


def test_the_first_set_is_whole_and_the_next_has_the_changes_alone(repository: Repository):
    assert write(repository, item("a", level="STORED"), item("b")) == (2, True)
    assert write(repository, item("a", level="BOOTED"), item("b"), at=NOW + 1) == (1, False)
    assert write(repository, item("a", level="BOOTED"), item("b"), at=NOW + 2) == (0, False)
    assert facts(repository) == {"a": {"level": "BOOTED"}, "b": {}}
    stored = repository.extracts.read()
    assert (stored.time, stored.whole, stored.sets) == (NOW + 2, NOW, 2)


def test_the_time_of_the_newest_part_is_read_alone(repository: Repository, folder: Folder):
    assert repository.extracts.newest_time() == 0
    write(repository, item("a"))
    write(repository, item("b"), at=NOW + 7)
    assert repository.extracts.newest_time() == NOW + 7
    rot(folder, 2)
    assert repository.extracts.newest_time() == NOW


def test_a_whole_set_is_written_once_a_week_and_the_older_ones_go(repository: Repository):
    for day in range(20):
        report = write(repository, item("a", day=day), at=NOW + day * DAY_MS)
        assert report.whole == (day % 7 == 0)
        repository.extracts.sweep()
    assert facts(repository) == {"a": {"day": 19}}
    assert len(repository.objects.numbers("extracts")) == 20 - 7


def test_a_removed_backup_goes_and_one_that_is_stored_stays(repository: Repository):
    write(repository, item("a"), item("b", entity="e"), item("e", "entity", name="web"))
    write(repository, at=NOW + 1, stored="b")
    assert facts(repository) == {"b": {"entity": "e"}}
    write(repository, at=NOW + 8 * DAY_MS, stored="b")  # a whole set of an empty catalogue
    assert facts(repository) == {"b": {"entity": "e"}}
    assert repository.extracts.read().facts("entity", "e") == {"name": "web"}
    write(repository, at=NOW + 8 * DAY_MS + 1)
    assert facts(repository) == {}


def rot(folder: Folder, number: int) -> None:
    path = folder.root / "extracts" / f"{number:08d}"
    path.chmod(0o600)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def test_a_set_that_rots_is_named_and_the_next_one_is_whole(repository: Repository, folder: Folder):
    write(repository, item("a", level="STORED"))
    write(repository, item("a", level="BOOTED"), at=NOW + 1)
    rot(folder, 2)
    stored = repository.extracts.read()
    assert list(stored.problems) == ["extracts/00000002"]
    assert facts(repository) == {"a": {"level": "STORED"}}
    assert write(repository, item("a", level="BOOTED"), at=NOW + 2).whole
    rot(folder, 3)
    rot(folder, 1)
    assert facts(repository) == {}
    assert len(repository.extracts.problems()) == 3


def chain(repository: Repository, count: int = 4) -> None:
    """Store a whole set, and sets of changes that each add a backup."""
    for number in range(count):
        items = (item(name) for name in "abcdef"[: number + 1])
        write(repository, *items, at=NOW + number)


def test_an_extract_that_is_lost_from_the_chain_is_named_and_the_others_are_used(
    repository: Repository, folder: Folder
):
    chain(repository)
    (folder.root / "extracts" / "00000003").unlink()
    stored = repository.extracts.read()
    assert facts(repository).keys() == {"a", "b", "d"}
    assert stored.problems == {
        "extracts/00000003": "extracts/00000003 is missing: locks, marks and proof levels that "
        "were recorded there are unknown"
    }
    assert repository.extracts.problems() == {}, "a lost extract is no damage of a backup"
    assert write(repository, *(item(name) for name in "abcd"), at=NOW + 9).whole
    assert repository.extracts.read().problems == {}


def test_changes_without_their_whole_set_are_used_and_the_loss_is_told(
    repository: Repository, folder: Folder
):
    chain(repository)
    (folder.root / "extracts" / "00000001").unlink()
    stored = repository.extracts.read()
    assert facts(repository).keys() == {"b", "c", "d"}
    assert list(stored.problems.values()) == [
        "the last whole extract is missing: locks, marks and proof levels that were recorded "
        "there are unknown"
    ]


def test_an_extract_that_no_list_shows_yet_is_read(repository: Repository, folder: Folder):
    chain(repository)
    numbers = repository.objects.numbers
    with patch.object(
        repository.objects, "numbers", lambda name: [n for n in numbers(name) if n != 3]
    ):
        assert facts(repository).keys() == {*"abcd"}
        assert repository.extracts.read().problems == {}


def test_extracts_of_a_newer_version_are_told_and_nothing_of_them_is_dropped(
    repository: Repository,
):
    header = {
        "set": "s",
        "part": 0,
        "last": True,
        "whole": False,
        "time": 1,
        "server": "",
        "name": "",
    }
    newer = CatalogueItem("tape", "t", {"slot": 7})
    lines = [msgspec.json.encode(row) for row in (header, newer, {"kind": 5, "guid": "x"})]
    form = [msgspec.json.encode({"set": "n", "shards": 3})]
    write(repository, item("a"))
    for number, rows in ((2, lines), (3, form)):
        name = f"extracts/{number:08d}"
        packed = zstandard.ZstdCompressor().compress(b"\n".join(rows))
        sealed = repository.keys.seal("extract", name.encode(), packed)
        repository.destination.store(name, sealed)
    stored = repository.extracts.read()
    assert list(stored.problems) == ["extracts/00000002", "extracts/00000003"]
    for text in stored.problems.values():
        assert "has the form of another version" in text
    assert repository.extracts.problems() == {}, "a repair sets none of them aside"
    assert write(repository, item("a"), at=NOW + 1).whole
    assert repository.extracts.read().facts("tape", "t") == {"slot": 7}
    assert facts(repository) == {"a": {}}
    assert write(repository, item("a"), at=NOW + 8 * DAY_MS).whole
    assert repository.extracts.sweep() == 1, "the facts of a newer version exist nowhere else"
    assert repository.objects.numbers("extracts")[:2] == [2, 3]


def test_parts_are_bounded_and_an_incomplete_set_does_not_count(
    repository: Repository, folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extracts, "_PART_ITEMS", 2)
    write(repository, *(item(str(number)) for number in range(5)))
    assert len(repository.objects.numbers("extracts")) == 3
    write(repository, *(item(str(number), new=1) for number in range(5)), at=NOW + 1)
    assert {len(found) for found in facts(repository).values()} == {1}
    (folder.root / "extracts" / "00000005").unlink()
    assert {len(found) for found in facts(repository).values()} == {0}


def test_many_changes_between_two_weeks_are_folded_into_a_whole_set(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extracts, "MOST_SETS", 3)
    wholes = [write(repository, item("a", at=at), at=NOW + at).whole for at in range(9)]
    assert wholes == [True, False, False, False] * 2 + [True]


class Story:
    """A history of one repository: servers with large or small catalogues, sweeps, and lost
    objects.
    """

    def __init__(self, seed: int, repository: Repository) -> None:
        self.dice, self.repository = random.Random(seed), repository
        self.known: dict[str, int] = {}
        self.time = NOW

    def step(self) -> None:
        self.time += self.dice.choice((1, DAY_MS, 3 * DAY_MS))
        for guid in map(str, range(self.dice.randrange(6))):
            self.known[guid] = self.dice.randrange(3)
        for guid in list(self.known):
            if self.dice.random() < 0.2:
                del self.known[guid]
        items = [item(guid, value=value) for guid, value in self.known.items()]
        write(self.repository, *items, at=self.time)
        if self.dice.random() < 0.5:
            self.repository.extracts.sweep()

    def lose(self) -> None:
        numbers = self.repository.objects.numbers("extracts")
        if numbers and self.dice.random() < 0.3:
            name = f"extracts/{self.dice.choice(numbers):08d}"
            self.repository.destination.delete(name)


def test_the_facts_after_each_write_are_those_of_the_server():
    for seed in CASES.seeds:
        story = Story(seed, Repository.init(MemoryStore(MemoryBucket()), SECRET))
        for _ in range(story.dice.randrange(1, 8)):
            story.lose()
            story.step()
            expected = {guid: {"value": value} for guid, value in story.known.items()}
            assert facts(story.repository) == expected, f"seed {seed}"
