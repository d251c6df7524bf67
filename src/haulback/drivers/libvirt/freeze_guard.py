"""Guard of a frozen guest: a separate process that thaws the guest even if the driver dies.

`python -m haulback.drivers.libvirt.freeze_guard URI UUID SECONDS` prints "ready" and waits.
A byte of input
ends the guard; the end of the input, or of SECONDS, makes it thaw the guest first.
"""

from __future__ import annotations

import logging
import select
import signal
import sys
from contextlib import suppress
from typing import Self

from haulback.drivers.libvirt import guard_process
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.errors import HaulbackError, Unavailable

log = logging.getLogger(__name__)
DEADLINE = 30  # seconds; longer than the freeze of any snapshot


class GuestFreeze:
    """Freezes the guest's file systems for the duration of a block.

    `held` is True if the guest stayed frozen until the end of the block. A guest that cannot be
    frozen is backed up without a freeze.
    """

    def __init__(self, uri: str, domain: Domain, deadline: int = DEADLINE) -> None:
        self._domain, self.held = domain, False
        self._guard = guard_process.start(__spec__.name, uri, domain, deadline)

    def __enter__(self) -> Self:
        try:
            assert self._guard.stdout
            if self._guard.stdout.readline().strip() != b"ready":
                raise Unavailable("the guard of a frozen guest did not start")
            self._domain.freeze()
            self.held = True
        except HaulbackError as error:
            log.warning("%s cannot be frozen: %s", self._domain.name, error.message)
            self._dismiss(b"")  # the guard thaws the guest, because some file systems may be frozen
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
            self._dismiss(b"")  # the guard tries to thaw the guest once more
            return
        self._dismiss(b"!")

    def _dismiss(self, word: bytes) -> None:
        with suppress(BrokenPipeError):
            self._guard.communicate(word, timeout=DEADLINE)


def main(uri: str, uuid: str, seconds: str) -> None:
    """Wait for a byte; if none arrives, thaw the guest at the end of the input or at the
    deadline.
    """
    # Signals that end the node's process group must not end the guard.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
