"""A session of any length needs little memory."""

import os
import threading
import tracemalloc
from collections import Counter

import pytest

from haulback.durable_files import DurableFiles
from haulback.errors import OutOfSpace
from haulback.repository import pack as packs
from haulback.repository import writer as writers
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.resources import Resources
from haulback.repository.writer import Writer
from haulback.units import KIB, MIB
from tests.unit.repository.scene import noise


@pytest.fixture
def traced():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_chunks_of_a_session(
    repository, tmp_path, pool, monkeypatch, traced
):
    monkeypatch.setattr("haulback.repository.writer._NEW_CHUNKS_IN_MEMORY", 1000)
    monkeypatch.setattr("haulback.repository.writer.PACK_BYTES", 256 * KIB)
    (tmp_path / "s").mkdir()
    writer, data = repository.writer(tmp_path / "s", pool), memoryview(os.urandom(KIB))

    def add(chunks):
        for _ in range(chunks // 100):
            writer.add([(os.urandom(20), data) for _ in range(100)])
        return traced()

    early = add(10_000)
    assert add(30_000) < early + MIB
    assert len(writer.finish().packs) > 3


def test_a_full_pack_is_sealed_while_the_next_one_is_filled(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(writers, "PACK_BYTES", 2 * MIB)
    monkeypatch.setattr(packs, "_WRITE_OUT_BYTES", MIB // 2)
    sealed_by = Counter()

    class Watched(DurableFiles):
        def sync(self, file):
            sealed_by[threading.current_thread() is threading.main_thread()] += 1
            super().sync(file)

    keys = Keys.generate()
    made = Writer(keys, Index(), tmp_path, Resources(pool, Watched()))
    chunks = [noise(64 * KIB, number) for number in range(160)]
    made.add([(keys.chunk_id(data), memoryview(data)) for data in chunks])
    staged = made.finish()
    assert sealed_by[False] == len(staged.packs) - 1
    assert sum(path.stat().st_size for path in staged.packs) == staged.stored


def test_an_error_of_the_disk_under_a_full_pack_ends_the_writer(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(writers, "PACK_BYTES", 2 * MIB)

    class Full(DurableFiles):
        def sync(self, file):
            raise OutOfSpace("the disk is full")

    keys = Keys.generate()
    made = Writer(keys, Index(), tmp_path, Resources(pool, Full()))
    chunks = [noise(64 * KIB, number) for number in range(160)]

    def store():
        made.add([(keys.chunk_id(data), memoryview(data)) for data in chunks])
        made.finish()

    with pytest.raises(OutOfSpace):
        store()
    made.abandon()


def segment(keys, seeds):
    """The memory of a segment of 1 MiB, and its chunks of 64 KiB."""
    data = memoryview(bytearray(b"".join(noise(64 * KIB, seed) for seed in seeds)))
    pieces = [data[at : at + 64 * KIB] for at in range(0, len(data), 64 * KIB)]
    return data, [(keys.chunk_id(piece), piece) for piece in pieces]


def test_a_segment_of_new_chunks_becomes_a_group_without_a_copy(repository, tmp_path, pool):
    (tmp_path / "s").mkdir()
    writer = repository.writer(tmp_path / "s", pool)
    known, (data, chunks) = {}, segment(repository.keys, range(16))
    for seeds in (range(16), range(8, 24), [50] * 16, range(100, 115), range(200, 216)):
        data, chunks = segment(repository.keys, seeds)
        refs, memory = writer.add_segment(chunks, data)
        is_taken = seeds in (range(16), range(200, 216))
        assert (memory is not data) == is_taken
        assert len(memory) == len(data)
        known.update({ref: bytes(piece) for ref, (_, piece) in zip(refs, chunks, strict=True)})
        if is_taken:
            assert len({ref.group for ref in refs}) == 1
            memory[:] = bytes(len(memory))  # the next segment of the disk
    staged = writer.finish()
    repository.publish_portion(tmp_path / "s", staged)
    reader = repository.reader()
    assert {ref: bytes(reader.chunk(ref)) for ref in known} == known
