"""Watch over a machine that must stay off while its disks are read without a lock.

QEMU's locks keep a machine from starting while its local images are read. No lock reaches a disk
on a network, so the watch asks libvirt during the read and at its end.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from haulback.drivers.libvirt.connection import Domain, Host
from haulback.errors import HaulbackError, SourceChanged, Unavailable

# Seconds between two checks; a machine that runs for less time hardly writes to its disks.
EVERY = 2.0


class StartWatch:
    """Asks the libvirt at `uri` in a thread whether a machine that is off was started.

    `before` is the reason why the machine was off before its disks were opened.
    """

    def __init__(self, uri: str, domain: Domain, before: int | None) -> None:
        self._uri, self._domain, self._before = uri, domain, before
        self._name, self._started = domain.name, False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="start-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch. Raises SourceChanged if the machine was started since `before`."""
        self._over.set()
        self._thread.join()
        self._look()
        if self._started:
            raise SourceChanged(f"{self._name} was started while its disks were read")

    def _run(self) -> None:
        while not self._over.wait(EVERY) and not self._started:
            with suppress(HaulbackError):  # a libvirt that restarts is asked again later
                self._look()

    def _look(self) -> None:
        try:
            now = self._domain.why_off()
        except Unavailable:  # the connection ends with a restart of libvirt
            self._domain = Host(self._uri).domain(self._domain.uuid)
            now = self._domain.why_off()
        # A restarted libvirt does not know the reason (0), which is no sign of a start.
        self._started |= now is None or now not in (0, self._before)
