"""The confined process: `python -m haulback.filesystems.child CONTROL DISKS` (two descriptors).

It is asked over one socket and fetches blocks of the disks over the other.  Everything it needs
is imported before it confines itself, for afterwards there are no files.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

import msgspec

from haulback.errors import HaulbackError, Malformed
from haulback.filesystems.confinement import confine
from haulback.filesystems.framing import receive, send
from haulback.filesystems.reading.answers import Answers
from haulback.filesystems.reading.blocks import Disk
from haulback.filesystems.reading.fat_names import CodePage
from haulback.filesystems.reading.filesystem import DAMAGE, told
from haulback.filesystems.records import Answer, Ask, Begin, Failed

_asks: msgspec.msgpack.Decoder[Ask] = msgspec.msgpack.Decoder(Ask)


def main(control: str, blocks: str) -> None:
    """Answer questions until the parent hangs up."""
    link, feed = socket.socket(fileno=int(control)), socket.socket(fileno=int(blocks))
    begin = receive(link, _asks)
    assert isinstance(begin, Begin)
    page = CodePage(begin.code_page)
    confine()
    disks = {name: Disk(feed, number, size) for number, (name, size) in enumerate(begin.disks)}
    answers = Answers(disks, page)
    with suppress(EOFError):
        while True:
            send(link, answer(answers, receive(link, _asks)))


def answer(answers: Answers, question: Ask) -> Answer:
    """The answer, whatever lies on the disks."""
    try:
        return answers.to(question)
    except HaulbackError as error:
        return Failed(error.code, error.message[:300])
    except (*DAMAGE, MemoryError) as error:
        return Failed(Malformed.code, told(error)[:300])


if __name__ == "__main__":
    main(*sys.argv[1:])
