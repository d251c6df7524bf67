"""A TLS server in front of a plain server, as a load balancer of a store would be."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit


@contextmanager
def tls_front(endpoint: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    """The HTTPS URL of a server that forwards every connection to `endpoint`, a plain server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    behind = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = (behind.hostname or "", behind.port or 80)
        Thread(target=_serve, args=(listening, context, place), daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}{behind.path}"
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread


def _serve(listening: socket.socket, context: ssl.SSLContext, place: tuple[str, int]) -> None:
    while True:
        try:
            client = listening.accept()[0]
        except OSError:
            return
        Thread(target=_pass_on, args=(client, context, place), daemon=True).start()


def _pass_on(client: socket.socket, context: ssl.SSLContext, place: tuple[str, int]) -> None:
    try:
        secure = context.wrap_socket(client, server_side=True)
        plain = socket.create_connection(place)
    except OSError:  # the client does not trust the certificate
        client.close()
        return
    back = Thread(target=_pipe, args=(plain, secure), daemon=True)
    back.start()
    _pipe(secure, plain)
    back.join()
    for connection in (secure, plain):
        connection.close()


def _pipe(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
