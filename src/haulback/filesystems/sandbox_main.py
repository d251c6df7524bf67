"""Confined process: `python -m haulback.filesystems.sandbox_start CONTROL DISKS` (two descriptors).

Requests arrive on the socket CONTROL; blocks of the disks are fetched through the socket DISKS. All
modules are imported before the process confines itself, because it cannot open files afterwards.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

import msgspec

from haulback.errors import HaulbackError, Malformed
from haulback.filesystems.parsers.blocks import ParentDisk
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.filesystem import DAMAGE, error_text
from haulback.filesystems.parsers.queries import QueryHandler
from haulback.filesystems.records import Answer, Begin, Failed, Query
from haulback.filesystems.sandbox import confine
from haulback.framing import pack, receive

_asks: msgspec.msgpack.Decoder[Query] = msgspec.msgpack.Decoder(Query)


def main(control: str, blocks: str) -> None:
    """Answer requests until the parent disconnects."""
    link, feed = socket.socket(fileno=int(control)), socket.socket(fileno=int(blocks))
    begin = receive(link, _asks)
    assert isinstance(begin, Begin)
    page = CodePage(begin.code_page)
    confine()
    disks = {
        name: ParentDisk(feed, number, size) for number, (name, size) in enumerate(begin.disks)
    }
    answers = QueryHandler(disks, page)
    with suppress(EOFError):
        while True:
            link.sendall(reply(answers, receive(link, _asks)))


def reply(answers: QueryHandler, question: Query) -> bytes:
    """The message with the response; a number that no message can hold becomes a Failed."""
    try:
        return pack(answer(answers, question))
    except OverflowError as error:
        return pack(Failed(Malformed.code, error_text(error)[:300]))


def answer(answers: QueryHandler, question: Query) -> Answer:
    """Response to a request; all errors that hostile data can cause become a Failed."""
    try:
        return answers.to(question)
    except HaulbackError as error:
        return Failed(error.code, error.message[:300])
    except (*DAMAGE, TypeError, AttributeError, MemoryError) as error:
        return Failed(Malformed.code, error_text(error)[:300])


if __name__ == "__main__":
    main(*sys.argv[1:])
