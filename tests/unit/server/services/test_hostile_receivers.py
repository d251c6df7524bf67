"""Receivers that answer badly, slowly or never."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from haulback.errors import Forbidden
from haulback.server.services import delivery, host_addresses, mail_server, web_posts
from tests import certificates
from tests.unit.server.conftest import House
from tests.unit.server.services.test_notifications import KEY, channel, happen, log, rule


@contextmanager
def receiver(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A receiver on 127.0.0.1 that answers each connection in a given way; yields its port."""
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


def dialogue(answers: dict[bytes, bytes]) -> Callable[[socket.socket], None]:
    """A mail server with prepared answers by the first four letters of a command, and 250
    otherwise.
    """

    def talk(peer: socket.socket) -> None:
        peer.sendall(b"220 ready\r\n")
        while line := peer.recv(1000):
            known = {b"QUIT": b"221 bye\r\n", **answers}
            peer.sendall(known.get(line[:4].upper(), b"250 OK\r\n"))

    return talk


def test_a_nul_in_the_reply_of_a_mail_server_ends_the_mail(house: House) -> None:
    with receiver(dialogue({b"MAIL": b"550 no\0mail\r\n"})) as port:
        rule(house, mail_channel(house, port), digest=0)
        happen(house)
        assert delivery.run_due(house.app) == 1
    [done] = log(house)
    assert done.state == "FAILED"
    assert r"no\x00mail" in (done.status_info or "")


def test_a_receiver_that_does_not_answer_puts_off_its_channel_only(house: House) -> None:
    with (
        receiver(lambda _: None) as silent,
        receiver(dialogue({b"MAIL": b"451 later\r\n"})) as busy,
    ):
        dead, alive = mail_channel(house, silent), mail_channel(house, busy)
        rule(house, dead, alive, digest=0)
        for _ in range(3):
            happen(house)
        assert delivery.run_due(house.app) == 1 + 3
        waiting = {item.due for item in log(house, subject=dead)}
        assert (len(waiting), min(waiting) > house.clock.now) == (1, True)
        assert [item.attempts for item in log(house, subject=alive)] == [1, 1, 1]


def drip(peer: socket.socket, piece: bytes) -> None:
    """Send an answer that takes five seconds, a piece at a time."""
    for _ in range(100):
        time.sleep(0.05)
        peer.sendall(piece)


def within(seconds: float, house: House, guid: str) -> str:
    """The result of a test of a channel, which must come soon."""
    begun = time.monotonic()
    done = delivery.try_channel(house.app, house.user, guid)
    assert time.monotonic() - begun < seconds
    assert done.state == "FAILED"
    return done.status_info or ""


def dripping(folder: Path, piece: bytes, *, sealed: bool) -> Callable[[socket.socket], None]:
    """A receiver that repeats a piece; with TLS, its certificate is in `folder`."""
    if not sealed:
        return lambda peer: drip(peer, piece)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.self_signed(folder))

    def talk(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as tunnel:
            drip(tunnel, piece)

    return talk


def starting_tls(sealed: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """A mail server that begins TLS when asked, and goes on as `sealed` does."""

    def talk(peer: socket.socket) -> None:
        peer.sendall(b"220 ready\r\n")
        for answer in (b"250-here\r\n250 STARTTLS\r\n", b"220 go ahead\r\n"):
            peer.recv(1024)
            peer.sendall(answer)
        sealed(peer)

    return talk


@pytest.mark.parametrize("security", ["NONE", "STARTTLS", "TLS"])
def test_a_mail_server_that_never_ends_its_reply_is_left(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    monkeypatch.setattr(mail_server, "LONGEST_SECONDS", 0.4)
    talk = dripping(tmp_path, b"220-x\r\n", sealed=security != "NONE")
    with receiver(starting_tls(talk) if security == "STARTTLS" else talk) as port:
        trusted = "".join(path.read_text() for path in tmp_path.glob("*cert*"))
        made = mail_channel(house, port, security=security, certificate=trusted)
        assert "did not accept the mail within" in within(3, house, made)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_webhook_that_never_ends_its_headers_is_left(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(web_posts, "LONGEST_SECONDS", 0.4)
    house.app.notify_networks = host_addresses.networks(["127.0.0.0/8"])
    piece = b"HTTP/1.1 100 Continue\r\n\r\n"
    with receiver(dripping(tmp_path, piece, sealed=scheme == "https")) as port:
        trusted = "".join(path.read_text() for path in tmp_path.glob("*cert*"))
        url = f"{scheme}://127.0.0.1:{port}/"
        made = channel(house, type="WEBHOOK", url=url, secret=KEY, certificate=trusted)
        assert "did not complete its answer within" in within(3, house, made)


def test_the_lease_of_a_message_is_longer_than_its_attempt() -> None:
    longest = max(mail_server.LONGEST_SECONDS, web_posts.LONGEST_SECONDS)
    assert 1.5 * longest * 1000 <= delivery.LEASE_MS


@pytest.fixture
def own_address() -> str:
    """The address of this machine in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


def test_a_webhook_cannot_reach_the_machine_by_its_own_address(own_address: str) -> None:
    for spelled in (own_address, f"::ffff:{own_address}"):
        with pytest.raises(Forbidden, match="--notify-network"):
            host_addresses.checked(spelled, 9, [])
    allowed = host_addresses.networks([own_address])
    assert host_addresses.checked(own_address, 9, allowed) == own_address
    assert host_addresses.checked("198.51.100.1", 9, []) == "198.51.100.1"


def test_a_machine_that_binds_to_any_address_still_knows_its_own(
    own_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = {4: ipaddress.ip_address("127.0.0.1")}  # an address that can be bound everywhere
    monkeypatch.setattr(host_addresses, "_NEVER_OWN", always)
    with pytest.raises(Forbidden, match="--notify-network"):
        host_addresses.checked(own_address, 9, [])
    assert host_addresses.checked("198.51.100.1", 9, []) == "198.51.100.1"
