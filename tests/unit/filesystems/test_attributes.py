"""Extended attributes and access lists: any bytes give attributes, or the reason why there are
none.
"""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.filesystems.parsers import ext_attributes, xfs_attributes
from haulback.filesystems.parsers.attributes import (
    AclEntry,
    AttributeCollector,
    acl_text,
    long_acl,
    short_acl,
)
from haulback.filesystems.parsers.filesystem import DAMAGE
from haulback.filesystems.records import MOST_ATTRIBUTES, MOST_NAME
from tests import shares

FUZZED = settings(max_examples=shares.cases("files").count)
LIST = "user::rw-\nuser:1234:r-x\ngroup::r--\ngroup:70000:-w-\nmask::rwx\nother::---\n"
ENTRIES = [(1, 6, 0), (2, 5, 1234), (4, 4, 0), (8, 2, 70_000), (16, 7, 0), (32, 0, 0)]


def test_access_lists_of_both_formats_are_written_as_by_getfacl():
    short = struct.pack("<I", 1) + b"".join(
        struct.pack("<HHI", tag, rights, id_) if tag in (2, 8) else struct.pack("<HH", tag, rights)
        for tag, rights, id_ in ENTRIES
    )
    long = struct.pack(">I", 6) + b"".join(
        struct.pack(">IIHxx", tag, id_, rights) for tag, rights, id_ in ENTRIES
    )
    assert short_acl(short) == long_acl(long) == LIST
    assert acl_text(AclEntry(tag, rights, id_) for tag, rights, id_ in ENTRIES) == LIST
    for bad in (lambda: short_acl(b"\2\0\0\0"), lambda: acl_text([AclEntry(3, 0)])):
        with pytest.raises(ValueError, match="unknown"):
            bad()


def test_attributes_beyond_the_limit_are_left_out_with_the_reason():
    into = AttributeCollector()
    for number in range(20):
        into.add(b"user.%d" % number, bytes(MOST_ATTRIBUTES // 10))
    result = into.extras(("casefold",))
    assert len(result.attributes) == 9
    assert "bytes of extended attributes" in result.reason
    assert result.features == ("casefold",)


@pytest.mark.parametrize("name", [b"", b"user.a\0b", b"user." + b"n" * MOST_NAME])
def test_an_attribute_whose_name_cannot_be_kept_is_left_out_with_a_reason(name):
    into = AttributeCollector()
    into.add(name, b"value")
    into.add(b"user.kept", b"value")
    result = into.extras(())
    assert result.attributes == {b"user.kept": b"value"}
    assert "is left out" in result.reason


def test_an_attribute_of_an_unknown_name_space_is_left_out_with_a_reason():
    entry = struct.pack("<BBHIII", 1, 5, 60, 0, 1, 0) + b"c\0\0\0"
    note = struct.pack("<BBHIII", 1, 1, 61, 0, 1, 0) + b"n\0\0\0"
    tail = b"\0\0\2\xea" + (entry + note).ljust(60, b"\0") + b"VN"
    into = AttributeCollector()
    ext_attributes.collect(into, ext_attributes.in_inode(tail), lambda _node, _size: b"")
    result = into.extras(())
    assert result.attributes == {b"user.n": b"N"}
    assert "unknown name space 5 is left out" in result.reason


def test_an_attribute_of_the_inline_data_is_no_attribute_of_the_file():
    entry = struct.pack("<BBHIII", 4, 7, 60, 0, 3, 0) + b"data"
    note = struct.pack("<BBHIII", 1, 1, 63, 0, 1, 0) + b"n\0\0\0"
    tail = b"\0\0\2\xea" + (entry + note).ljust(60, b"\0") + b"abcN"
    into = AttributeCollector()
    ext_attributes.collect(into, ext_attributes.in_inode(tail), lambda _node, _size: b"")
    assert ext_attributes.inline_data(tail) == b"abc"
    assert into.extras(()).attributes == {b"user.n": b"N"}


@given(st.binary(max_size=400), st.binary(max_size=200))
@FUZZED
def test_any_bytes_in_an_inode_or_a_block_are_attributes_or_a_reason(noise, value):
    into = AttributeCollector()
    tail = b"\0\0\2\xea" + noise
    ext_attributes.collect(into, ext_attributes.in_inode(tail), lambda _node, size: value[:size])
    with suppress(*DAMAGE):
        block = ext_attributes.in_block(tail.ljust(1024, b"\0"))
        ext_attributes.collect(into, block, lambda _node, size: value[:size])
    xfs_attributes.collect(into, xfs_attributes.short(noise))
    result = into.extras(())
    assert all(name and b"\0" not in name for name in result.attributes)


BLOCKS = st.lists(
    st.tuples(st.sampled_from([0xFEBE, 0x3EBE, 0xFBEE, 0x3BEE, 0]), st.binary(max_size=200)),
    min_size=1,
    max_size=4,
)


@given(BLOCKS, st.booleans())
@FUZZED
def test_any_tree_of_attributes_ends(blocks, version_5):
    def read(number: int) -> bytes:
        magic, noise = blocks[number % len(blocks)]
        return (struct.pack(">II2H", number + 1, 0, magic, 0) + noise).ljust(512, b"\0")

    into = AttributeCollector()
    fork = xfs_attributes.AttributeBlocks(read, 512, version_5)
    xfs_attributes.collect(into, xfs_attributes.in_blocks(fork))
    assert len(into.extras(()).attributes) <= 10_000
