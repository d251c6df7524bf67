"""Each disk is shown as a separate file, whatever its name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.mount import files_of

NAMES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=200)


@given(st.lists(NAMES, unique=True, max_size=20))
def test_every_disk_has_a_file_of_its_own_that_can_be_made(disks: list[str]):
    files = files_of(disks)
    assert list(files) == disks
    assert len(set(files.values())) == len(disks)
    for name in files.values():
        assert "/" not in name
        assert len(name.encode()) <= 255


def test_a_disk_is_called_as_it_is_where_that_can_be():
    assert files_of(["vda", "a/b"]) == {"vda": "vda", "a/b": "a-b"}
    assert files_of(["a/b", "a-b"]) == {"a/b": "disk0", "a-b": "disk1"}
