"""A sealed group holds its chunks, wherever its record was written."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from haulback.errors import Damaged
from haulback.repository.group import RECORD_BYTES, Group, OpenGroup, decode, decode_framed, encode
from haulback.repository.keys import Keys
from haulback.units import MIB

KEYS = Keys(bytes(32))


def group(seed: int, length: int) -> Group:
    """Chunks of random data and of text in turn; the id of a chunk tells its seed."""
    dice = random.Random(seed)
    opened = OpenGroup(seed.to_bytes(12, "big"), bytearray(length))
    while opened.size < length:
        count = min(dice.randint(1, 9000), length - opened.size)
        opened.add(dice.randbytes(20), dice.randbytes(count) if count % 2 else b"text " * count)
        if opened.size + 45_000 > length:
            break
    return opened.close()


def chunks(item: Group) -> dict[bytes, bytes]:
    return {chunk: bytes(item.chunk(chunk)) for chunk in item.places}


@pytest.mark.parametrize("space", [None, 0, 100, RECORD_BYTES, 3 * MIB])
def test_a_record_is_written_where_it_fits(space: int | None):
    item = group(1, 300_000)
    target = None if space is None else bytearray(space)
    record = encode(item, KEYS, target)
    assert (target is not None and record.obj is target) == (space is not None and space > 100)
    assert chunks(decode(bytes(record), item.id, KEYS)) == chunks(item)


def test_a_record_in_used_memory_holds_nothing_of_the_record_before():
    memory = bytearray(b"\xff" * RECORD_BYTES)
    for seed in (3, 4, 5):
        item = group(seed, 400_000 // seed)
        record = encode(item, KEYS, memory)
        assert chunks(decode(record, item.id, KEYS)) == chunks(item)


def test_groups_that_threads_decode_at_once_do_not_mix():
    items = [group(seed, 200_000) for seed in range(12)]
    records = [bytes(encode(item, KEYS)) for item in items]
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda i: decode(records[i % 12], items[i % 12].id, KEYS), range(96))
        )
    assert all(chunks(result) == chunks(items[i % 12]) for i, result in enumerate(results))


def test_the_compressed_data_of_a_group_outlives_the_next_group():
    first, second = group(6, 150_000), group(7, 150_000)
    records = [bytes(encode(item, KEYS)) for item in (first, second)]
    framed = decode_framed(records[0], first.id, KEYS)
    before = bytes(framed.frame)
    decode(records[1], second.id, KEYS)
    assert framed.frame == before


@pytest.mark.parametrize("length", [0, 11, 12, 30, 39, 40])
def test_a_record_that_is_cut_short_is_damaged(length: int):
    item = group(8, 90_000)
    with pytest.raises(Damaged):
        decode(bytes(encode(item, KEYS))[:length], item.id, KEYS)
