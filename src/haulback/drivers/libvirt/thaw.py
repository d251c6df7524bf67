"""The guard of a frozen guest: a process of its own that lets it go on, whatever dies.

`python -m haulback.drivers.libvirt.thaw URI UUID SECONDS` says "ready", then waits.  One byte of
input ends it; the end of the input, or of the seconds, makes it thaw the guest first.
"""

from __future__ import annotations

import logging
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Self

from haulback.drivers.libvirt.edge import Domain, Host
from haulback.errors import HaulbackError, Unavailable

log = logging.getLogger(__name__)
DEADLINE = 30  # seconds; longer than any freeze for a snapshot takes


class Frozen:
    """A guest whose file systems are held for as long as the block lasts.

    `held`: it could be frozen, and was not let go on before the end.  A guest that cannot be
    frozen is no reason to do without a backup.
    """

    def __init__(self, uri: str, domain: Domain, deadline: int = DEADLINE) -> None:
        self._domain, self.held = domain, False
        self._guard = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, uri, domain.uuid, str(deadline)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        try:
            assert self._guard.stdout
            if self._guard.stdout.readline().strip() != b"ready":
                raise Unavailable("the guard of a frozen guest did not start")
            self._domain.freeze()
            self.held = True
        except HaulbackError as error:
            log.warning("%s cannot be frozen: %s", self._domain.name, error.message)
            self._dismiss(b"")  # half of it may be frozen
        except BaseException:
            self._dismiss(b"")
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self.held:
            return
        try:
            self.held = self._domain.thaw() > 0 and self._guard.poll() is None
        except HaulbackError:
            self.held = False
            self._dismiss(b"")  # it tries once more
            return
        self._dismiss(b"!")

    def _dismiss(self, word: bytes) -> None:
        with suppress(BrokenPipeError):
            self._guard.communicate(word, timeout=DEADLINE)


def main(uri: str, uuid: str, seconds: str) -> None:
    """Wait, and thaw unless told that it is done."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # of whoever ends the node
        signal.signal(number, signal.SIG_IGN)
    domain = Host(uri).domain(uuid)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    told, _, _ = select.select([sys.stdin.buffer], [], [], float(seconds))
    if told and sys.stdin.buffer.read(1):
        return
    with suppress(HaulbackError):
        domain.thaw()


if __name__ == "__main__":
    main(*sys.argv[1:])
