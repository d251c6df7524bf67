"""CRC-32C is computed as its polynomial defines it."""

from hypothesis import given
from hypothesis import strategies as st

from haulback.filesystems.parsers.checksums import START, crc32c


def by_bits(data, register=START):
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register


def test_the_check_value_of_the_standard_is_right():
    assert crc32c(b"123456789") ^ START == 0xE3069283


@given(st.binary(max_size=40), st.integers(0, START))
def test_any_bytes_have_the_checksum_that_single_bits_give(data, start):
    assert crc32c(data, start) == by_bits(data, start)
