"""A message is received as it was sent, or causes an error."""

from __future__ import annotations

import io
import socket
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback import framing

_anything: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder()
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def reader(data: bytes):
    stream = io.BytesIO(data)

    def take(count: int) -> bytearray:
        taken = bytearray(stream.read(count))
        if len(taken) < count:
            raise EOFError
        return taken

    return take


@given(st.lists(_values, max_size=5))
def test_messages_are_read_as_they_were_packed_one_after_the_other(messages):
    take = reader(b"".join(framing.pack(message) for message in messages))
    assert [framing.read(take, _anything) for _ in messages] == messages
    with pytest.raises(EOFError):
        framing.read(take, _anything)


def test_the_length_stands_before_a_message_in_four_bytes_big_endian():
    assert framing.pack("abc") == b"\0\0\0\4\xa3abc"


@given(st.binary(max_size=64))
def test_bytes_of_any_kind_end_in_a_message_or_an_error_that_is_handled(data):
    with suppress(EOFError, ValueError):
        framing.read(reader(data), _anything, most=32)


def test_a_message_longer_than_the_limit_is_refused_before_its_bytes_are_read():
    with pytest.raises(ValueError, match="1000 bytes is too long"):
        framing.read(reader((1000).to_bytes(4, "big")), _anything, most=999)


def test_a_socket_carries_messages_until_its_end():
    one, other = socket.socketpair()
    with one, other:
        framing.send(one, {"a": [1, 2]})
        assert framing.receive(other, _anything) == {"a": [1, 2]}
        one.close()
        with pytest.raises(EOFError):
            framing.receive(other, _anything)
