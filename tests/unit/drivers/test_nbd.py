"""The NBD client reads a correct server and refuses the errors of a faulty one."""

import random
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.drivers.nbd import ALLOCATION, Export, connect, dirty_bitmap
from haulback.drivers.source import Extent
from haulback.errors import HaulbackError, OutOfSpace, Unavailable, Unreadable, Unsupported
from haulback.units import KIB, MIB
from tests import shares

GREETING = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 3)
DIRTY = dirty_bitmap("b")
DONE = 1


def reply(option, kind, data=b""):
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data


def context(number, name):
    return reply(10, 4, struct.pack(">I", number) + name.encode())


def exports(size, flags=5):
    return reply(7, 3, struct.pack(">HQH", 0, size, flags)) + reply(7, 1)


def hello(size=MIB, contexts=(), flags=5):
    metas = b"".join(context(i + 1, name) for i, name in enumerate(contexts))
    return (
        GREETING + reply(8, 1) + (metas + reply(10, 1) if contexts else b"") + exports(size, flags)
    )


def chunk(kind, cookie, data=b"", flags=DONE):
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(data)) + data


def data(cookie, offset, content, flags=DONE):
    return chunk(1, cookie, struct.pack(">Q", offset) + content, flags)


def status(cookie, number, *pairs, flags=DONE):
    body = b"".join(struct.pack(">II", *pair) for pair in pairs)
    return chunk(5, cookie, struct.pack(">I", number) + body, flags)


def simple(cookie, error=0):
    return struct.pack(">IIQ", 0x67446698, error, cookie)


class Server:
    """A server that sends its lines without reading; it records the client's requests in
    `heard`.
    """

    def __init__(self, said, ends=True):
        self.mine, self.theirs = socket.socketpair()
        self.mine.sendall(said)
        if ends:
            self.mine.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.mine.close()
        self.theirs.close()

    def export(self, contexts=(), wait=5.0):
        return Export(self.theirs, contexts=contexts, wait=wait)


def test_a_read_is_put_together_from_chunks_in_any_order():
    answer = data(1, 6, b"cd", 0) + chunk(2, 1, struct.pack(">QI", 2, 4), 0) + data(1, 0, b"ab")
    with Server(hello() + answer) as server:
        export, buffer = server.export(), bytearray(b"\xff" * 8)
        export.read_into(0, memoryview(buffer))
        assert (export.size, bytes(buffer)) == (MIB, b"ab\0\0\0\0cd")
        export.close()


def test_extents_are_joined_and_cut_at_the_end_of_the_export():
    names = [ALLOCATION, DIRTY]
    one = status(1, 1, (64 * KIB, 0), (64 * KIB, 1), (128 * KIB, 3), (2 * MIB, 0), flags=0)
    two = status(2, 2, (MIB // 2, 1), (MIB // 2, 0))
    other = status(1, 2, (MIB, 0))
    with Server(hello(contexts=names) + one + other + two) as server:
        export = server.export(names)
        assert list(export.extents()) == [Extent(0, 128 * KIB), Extent(256 * KIB, 768 * KIB)]
        assert list(export.dirty("b")) == [Extent(0, MIB // 2)]
        export.close()


def test_a_context_that_is_not_offered_is_said_so():
    with Server(hello(contexts=[ALLOCATION])) as server:
        export = server.export([ALLOCATION, DIRTY])
        assert not export.offers(DIRTY)
        with pytest.raises(Unsupported, match="dirty-bitmap:b"):
            list(export.dirty("b"))
        export.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        GREETING[:10],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        GREETING[:16] + b"\0\0",
        GREETING + reply(7, 1),
        GREETING + struct.pack(">QIII", 0x3E889045565A9, 8, 1, 0xFFFFFFFF),
        GREETING + reply(8, 3, b"x") * 100,
        GREETING + reply(8, 1) + reply(7, 1),
        GREETING + reply(8, 1) + exports(1 << 63),
        GREETING + reply(8, 1) + exports(MIB, 0),
    ],
)
def test_a_bad_greeting_is_refused(said):
    with Server(said) as server, pytest.raises(Unavailable):
        server.export()


def test_a_refused_option_names_the_server_s_reason():
    said = GREETING + reply(8, 1) + reply(7, (1 << 31) + 6, b"no such export")
    with Server(said) as server, pytest.raises(Unsupported, match="no such export"):
        server.export()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 64,
        simple(1),
        data(7, 0, b"x" * 8),
        data(1, 0, b"x" * 4),
        data(1, 4, b"x" * 8),
        data(1, 1 << 63, b"x" * 8),
        data(1, 0, b"x" * 8, 0) + data(1, 0, b"x" * 8),
        data(1, 0, b"x" * 4, 0) + data(1, 2, b"x" * 4),
        chunk(1, 1, b"short"),
        chunk(1, 1, struct.pack(">Q", 0)),
        chunk(2, 1, struct.pack(">QI", 0, 0xFFFFFFFF)),
        chunk(2, 1, struct.pack(">QI", 0, 0)),
        chunk(0, 1, b"", 0) * 9,
        chunk(0, 1, b"full"),
        chunk(99, 1),
        status(1, 1, (8, 0)),
        chunk((1 << 15) + 1, 1, struct.pack(">IH", 108, 0)),
        chunk((1 << 15) + 1, 2, struct.pack(">IH", 5, 0)),
        simple(2, 5),
        chunk((1 << 15) + 1, 1, struct.pack(">IH", 0xFFFFFFFF, 0)),
        chunk((1 << 15) + 1, 1),
        struct.pack(">IHHQI", 0x668E33EF, 1, 1, 1, 0xFFFFFFFF),
    ],
)
def test_a_bad_answer_to_a_read_closes_the_connection(answer):
    with Server(hello() + answer) as server:
        export = server.export()
        with pytest.raises(Unavailable):
            export.read_into(0, memoryview(bytearray(8)))
        with pytest.raises(Unavailable, match="closed"):
            export.read_into(0, memoryview(bytearray(8)))


FAILED = chunk((1 << 15) + 1, 1, struct.pack(">IH", 5, 0))


@pytest.mark.parametrize("answer", [FAILED, simple(1, 5), data(1, 0, b"x" * 4, 0) + FAILED])
def test_bytes_that_the_server_cannot_read_are_no_end_of_the_connection(answer):
    with Server(hello() + answer + data(2, 0, b"y" * 8)) as server:
        export, buffer = server.export(), bytearray(8)
        with pytest.raises(Unreadable, match="8 bytes at 0"):
            export.read_into(0, memoryview(buffer))
        export.read_into(0, memoryview(buffer))
        assert buffer == b"y" * 8


@pytest.mark.parametrize(
    "answer",
    [
        chunk(0, 1),
        status(1, 1),
        status(1, 1, (0, 0)),
        status(1, 9, (MIB, 0)),
        status(1, 1, (MIB, 0), (4096, 0)),
        status(1, 1, (MIB, 0), flags=0) + status(1, 1, (MIB, 0)),
        chunk(5, 1, b"\0\0\0\1\0\0\0"),
    ],
)
def test_a_bad_block_status_is_not_believed(answer):
    with Server(hello(contexts=[ALLOCATION]) + answer) as server, pytest.raises(Unavailable):
        list(server.export([ALLOCATION]).extents())


def test_a_silent_server_is_given_up():
    with Server(hello(), ends=False) as server:
        export = server.export(wait=0.05)
        with pytest.raises(Unavailable, match="does not respond"):
            export.read_into(0, memoryview(bytearray(8)))


def test_a_write_error_shows_at_the_latest_when_flushing():
    with Server(hello() + simple(1, 28)) as server:
        export = server.export()
        export.write_at(0, b"x")
        with pytest.raises(OutOfSpace):
            export.flush()


def test_a_read_only_export_is_not_written():
    with Server(hello(flags=7)) as server, pytest.raises(Unsupported, match="read-only"):
        server.export().write_at(0, b"x")


def test_nothing_is_asked_outside_of_the_export():
    with Server(hello()) as server:
        export = server.export()
        with pytest.raises(ValueError, match="not within"):
            export.read_into(MIB - 4, memoryview(bytearray(8)))
        export.close()


def test_a_missing_server_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="no NBD server"):
        connect(str(tmp_path / "nobody"))


@settings(max_examples=shares.cases("hostile").count, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_damaged_speech_never_gets_past_our_errors(seed, flips):
    rng = random.Random(seed)
    said = bytearray(
        hello(64, [ALLOCATION])
        + status(1, 1, (64, 0))
        + data(2, 0, b"x" * 32, 0)
        + data(2, 32, b"y" * 32)
    )
    for _ in range(flips):
        said[rng.randrange(len(said))] = rng.randrange(256)
    with Server(bytes(said)) as server:
        try:
            export = server.export([ALLOCATION])
            assert sum(extent.length for extent in export.extents()) <= export.size
            export.read_into(0, memoryview(bytearray(min(64, export.size))))
            export.close()
        except HaulbackError:
            pass
