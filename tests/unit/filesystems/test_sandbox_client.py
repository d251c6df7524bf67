"""The parser process may die, hang or send wrong answers; its parent reports that and continues."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from haulback.errors import Damaged, HaulbackError, Unavailable
from haulback.filesystems.browser import Browser
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import browser, ext, needs_ext

_HEAD = """
import os, socket, sys, time
import msgspec
from haulback.framing import receive, send
from haulback.filesystems.records import *
from haulback.filesystems.block_protocol import REQUEST
link, feed = (socket.socket(fileno=int(one)) for one in sys.argv[1:])
ask = msgspec.msgpack.Decoder(Query)
receive(link, ask)
"""


def hostile(text, size=MIB, deadline=30.0):
    """A browser whose process runs the program `text` instead."""
    command = (sys.executable, "-c", _HEAD + textwrap.dedent(text))
    return Browser({"vda": MemoryDisk(bytes(size))}, deadline=deadline, command=command)


def test_a_process_that_dies_is_said_to_have_died():
    with hostile("os._exit(1)") as found, pytest.raises(Unavailable, match="died"):
        found.volumes()


def test_a_process_that_hangs_is_given_up_at_the_deadline():
    with (
        hostile("while True: time.sleep(1)", deadline=0.5) as found,
        pytest.raises(Unavailable, match=r"longer than 0\.5 seconds"),
    ):
        found.volumes()


def test_a_process_that_drips_bytes_is_given_up_at_the_deadline():
    text = """
    link.sendall((1000).to_bytes(4, "big"))
    while True:
        link.sendall(b"x")
        time.sleep(0.05)
    """
    with (
        hostile(text, deadline=0.5) as result,
        pytest.raises(Unavailable, match=r"longer than 0\.5 seconds"),
    ):
        result.volumes()


LIES = {
    "noise": 'link.sendall(b"\\0\\0\\0\\x05hello")',
    "a message of 4 GiB": 'link.sendall(b"\\xff" * 4)',
    "another answer": "send(link, ListVolumes())",
    "a piece of no disk": "send(link, Content(10, [FilePiece(10, 7, 0)]))",
    "a piece beyond its disk": f"send(link, Content(10, [FilePiece(10, 0, {MIB - 5})]))",
    "a piece before its disk": "send(link, Content(10, [FilePiece(10, 0, -5)]))",
    "more than was asked for": "send(link, Content(5000000, [FilePiece(4194304)] * 2))",
    "data of another length": 'send(link, Content(10, [FilePiece(10, -1, 0, b"short")]))',
    "an endless piece": "send(link, Content(1 << 62, [FilePiece(1 << 62)]))",
    "nothing of a file": "send(link, Content(10, []))",
    "a negative size": "send(link, Content(-1, []))",
    "a name with a slash": 'send(link, Entries([RawEntry(b"a/b", "OTHER", 0, 0, 0, 0, 0)]))',
    "a name that leads up": 'send(link, Entries([RawEntry(b"..", "OTHER", 0, 0, 0, 0, 0)]))',
    "a type that is none": 'send(link, Entries([RawEntry(b"a", "DEVIL", 0, 0, 0, 0, 0)]))',
    "too many entries": 'send(link, Entries([RawEntry(b"a", "OTHER", 0, 0, 0, 0, 0)] * 11))',
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_no_answer(lie):
    with hostile(lie + "\ntime.sleep(60)") as found:
        for call in (lambda: found.listing("vda", "/", most=10), lambda: found.stream("vda", "/f")):
            with pytest.raises(Unavailable, match="malformed response"):
                call()


def test_an_error_of_the_process_is_fit_to_be_printed():
    text = 'send(link, Failed("malformed", "\\x1b[31m\\n bad"))\ntime.sleep(60)'
    with hostile(text) as found, pytest.raises(HaulbackError, match=r"\\x1b\[31m\\n bad"):
        found.volumes()


@pytest.mark.parametrize("request_", ["(3, 0, 10)", "(0, 1 << 40, 10)", "(0, 0, 1 << 30)"])
def test_who_asks_for_blocks_that_are_not_there_is_hung_up_on(request_):
    text = f"feed.sendall(REQUEST.pack(*{request_}))\nassert not feed.recv(1)\nos._exit(1)"
    with hostile(text) as found, pytest.raises(Unavailable, match="died"):
        found.volumes()


@needs_ext
class TestTheRealOne:
    @pytest.fixture
    def image(self, tmp_path):
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "file").write_bytes(b"contents")
        return ext(tmp_path / "image", tmp_path / "tree", "-t", "ext4", size=8 * MIB)

    def test_the_question_after_a_death_is_answered_by_another(self, image):
        with browser(image) as found:
            for _ in range(2):
                assert found.read("vda", "/file", 0, 99) == b"contents"
                running = found._confined._running.process
                os.kill(running.pid, signal.SIGKILL)
                running.wait()

    def test_a_disk_that_cannot_be_read_is_what_is_told(self, image):
        class Broken(MemoryDisk):
            def read_into(self, offset, buffer):
                raise Damaged("packs/07 is missing")

        with (
            Browser({"vda": Broken(image.read_bytes())}) as found,
            pytest.raises(Damaged, match="packs/07"),
        ):
            found.listing("vda", "/")

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give so much up")
    def test_it_has_no_files_no_rights_and_no_network(self, image):
        with browser(image) as result:
            result.volumes()
            pid = result._confined._running.process.pid
            told = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in told)
            assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
            assert status["CapEff"] == status["CapPrm"] == "0" * 16
            assert status["NoNewPrivs"] == "1"
            assert os.listdir(f"/proc/{pid}/root/") == []
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
            limits = Path(f"/proc/{pid}/limits").read_text()
            for limit in ("Max file size", "Max processes", "Max core file size"):
                line = next(item for item in limits.splitlines() if item.startswith(limit))
                assert line.removeprefix(limit).split()[:2] == ["0", "0"]
            kinds = [
                os.readlink(f"/proc/{pid}/fd/{item}") for item in os.listdir(f"/proc/{pid}/fd")
            ]
            assert (
                sorted(kind.split(":")[0] for kind in kinds) == ["/dev/null"] * 3 + ["socket"] * 2
            )

    def test_nothing_is_left_after_the_browser(self, image):
        with browser(image) as found:
            found.volumes()
            running = found._confined._running
        assert running.process.poll() is not None
        assert not running._thread.is_alive()
