"""Names in a listing are valid, sorted and unique."""

from hypothesis import given
from hypothesis import strategies as st

from haulback.filesystems.parsers.names import distinct, possible, unlike_dots
from haulback.filesystems.paths import sound

NAMES = [b"", b".", b"..", b"a", b"a~2", b"a~3", b"a/b", b"a\0", rb"a\x2fb", b"a" * 1020]
raw = st.one_of(st.sampled_from(NAMES), st.binary(max_size=8))


@given(st.lists(raw, max_size=60))
def test_every_node_has_a_name_of_its_own(names):
    found = distinct((unlike_dots(name), node) for node, name in enumerate(names))
    assert sorted(found.values()) == list(range(len(names)))
    assert list(found) == sorted(found)
    assert all(map(sound, found))
    for name in map(unlike_dots, names):
        assert name in found


@given(st.lists(raw, max_size=60))
def test_names_stay_the_same_for_who_asks_again(names):
    pairs = [(possible(name), node) for node, name in enumerate(names)]
    assert distinct(pairs) == distinct(iter(pairs))


def test_very_many_files_of_one_name_are_numbered_in_time():
    found = distinct((b"same", node) for node in range(200_000))
    assert len(found) == 200_000
    assert found[b"same~200000"] == 199_999
