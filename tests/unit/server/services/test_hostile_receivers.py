"""Receivers that answer badly, slowly or never."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from haulback.server.services import delivery
from tests.unit.server.conftest import House
from tests.unit.server.services.test_notifications import channel, happen, log, rule


@contextmanager
def receiver(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A receiver on 127.0.0.1 that talks to each connection in its own way; yields its port."""
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def converse(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.settimeout(5)
            talk(peer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=converse, args=(server.accept()[0],)))
                threads[-1].start()

    waiting = threading.Thread(target=accept)
    waiting.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in [waiting, *threads]:
            thread.join()


def mail_channel(house: House, port: int, **more: str) -> str:
    body = {"type": "MAIL", "host": "127.0.0.1", "port": port, "security": "NONE", **more}
    return channel(house, **body, sender="h@example.org", recipients=["ops@example.org"])


def test_a_nul_in_the_reply_of_a_mail_server_ends_the_mail(house: House) -> None:
    def refuse(peer: socket.socket) -> None:
        peer.sendall(b"220 ready\r\n")
        answers = {b"MAIL": b"550 no\0mail\r\n", b"QUIT": b"221 bye\r\n"}
        while line := peer.recv(1000):
            peer.sendall(answers.get(line[:4].upper(), b"250 OK\r\n"))

    with receiver(refuse) as port:
        rule(house, mail_channel(house, port), digest=0)
        happen(house)
        assert delivery.run_due(house.app) == 1
    [done] = log(house)
    assert done.state == "FAILED"
    assert r"no\x00mail" in (done.status_info or "")
