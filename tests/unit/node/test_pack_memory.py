"""A node remembers checked packs for a week, and losing that cache does no harm."""

from pathlib import Path

from haulback.durable_files import DurableFiles
from haulback.node.pack_memory import KEPT_SECONDS, FilePackMemory, PackMemories

PACK = bytes(16)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def memory(path: Path, clock: Clock) -> FilePackMemory:
    return FilePackMemory(path / "m", DurableFiles(), clock)


def test_a_checked_pack_is_known_by_its_length_for_seven_days(tmp_path: Path):
    clock = Clock()
    item = memory(tmp_path, clock)
    assert not item.knows(PACK, 10)
    item.learn(PACK, 10)
    assert item.knows(PACK, 10)
    assert not item.knows(PACK, 11), "a pack of another length is checked anew"
    clock.now += KEPT_SECONDS - 1
    assert item.knows(PACK, 10)
    clock.now += 1
    assert not item.knows(PACK, 10)


def test_a_memory_outlives_the_process_and_drops_what_is_old(tmp_path: Path):
    clock = Clock()
    item = memory(tmp_path, clock)
    item.learn(PACK, 10)
    item.save()
    clock.now += KEPT_SECONDS + 1
    item.learn(b"b" * 16, 20)
    item.save()
    size = (tmp_path / "m").stat().st_size
    again = memory(tmp_path, clock)
    assert again.knows(b"b" * 16, 20)
    assert not again.knows(PACK, 10)
    assert size < 60


def test_a_clock_that_was_set_back_makes_nothing_known(tmp_path: Path):
    clock = Clock()
    one = memory(tmp_path, clock)
    one.learn(PACK, 10)
    clock.now -= 10
    assert not one.knows(PACK, 10)


def test_a_damaged_memory_counts_as_empty(tmp_path: Path):
    clock = Clock()
    for content in (b"", b"\x00rubbish", b"\x81\xa1x\x01"):
        (tmp_path / "m").write_bytes(content)
        one = memory(tmp_path, clock)
        assert not one.knows(PACK, 10)
        one.learn(PACK, 10)
        one.save()
        assert memory(tmp_path, clock).knows(PACK, 10)


def test_every_repository_has_a_memory_of_its_own(tmp_path: Path):
    memories = PackMemories(tmp_path, DurableFiles())
    memories.of("a").learn(PACK, 10)
    assert not memories.of("b").knows(PACK, 10)
    assert memories.of("a").knows(PACK, 10)
