"""An object is compared with a file by all of its bytes, and no other object counts as the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.destinations.file_comparison import holds
from haulback.errors import NotFound
from haulback.testing.memory_store import MemoryStore

BYTES = b"x" * (9 << 20)


@pytest.mark.parametrize(
    ("content", "same"),
    [(BYTES, True), (BYTES[:-1] + b"y", False), (BYTES + b"x", False), (BYTES[:-1], False)],
    ids=["equal", "last byte", "longer", "shorter"],
)
def test_an_object_holds_a_file_of_its_very_bytes(tmp_path: Path, content: bytes, same: bool):
    store, file = MemoryStore(), tmp_path / "file"
    store.store("packs/ab/pack", BYTES)
    file.write_bytes(content)
    assert holds(store, "packs/ab/pack", file) is same


def test_an_empty_file_is_an_empty_object_and_a_missing_object_is_none(tmp_path: Path):
    store, file = MemoryStore(), tmp_path / "file"
    store.store("packs/ab/pack", b"")
    file.write_bytes(b"")
    assert holds(store, "packs/ab/pack", file)
    with pytest.raises(NotFound):
        holds(store, "packs/ab/none", file)
