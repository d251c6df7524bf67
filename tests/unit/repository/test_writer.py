"""A session of any length needs little memory."""

import os
import tracemalloc

import pytest

from haulback.units import KIB, MIB


@pytest.fixture
def traced():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


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
