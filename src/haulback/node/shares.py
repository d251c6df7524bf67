"""What this node shares is what the server wants shared: after a restart, and after any death."""

from __future__ import annotations

import logging
from threading import Event, Thread

from haulback.errors import HaulbackError, NotFound
from haulback.kinds.mount import Order
from haulback.kinds.seam import Sharing
from haulback.node.home import Home
from haulback.node.job import share_order
from haulback.node.link import Link

log = logging.getLogger(__name__)
_EVERY = 15.0  # seconds


class Sharer(Thread):
    """Ends what nobody wants and begins again what died, until it is told to stop."""

    def __init__(self, link: Link, home: Home) -> None:
        super().__init__(name="shares", daemon=True)
        self._link, self._home, self._over = link, home, Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except HaulbackError as error:
                log.debug("shares: %s", error.message)
            except Exception:
                log.exception("shares")
            self._over.wait(_EVERY)

    def stop(self) -> None:
        self._over.set()

    def look(self) -> None:
        """Once.  What is there is listed before the server is asked: a new one is not ended."""
        shares = self._home.shares
        if held := shares.all():
            for guid in set(held) - set(self._link.needed(held)):
                log.info("nobody wants the share %s any more", guid)
                shares.end(guid)
        for guid in self._link.shares():
            if not shares.lives(guid) and not self._over.is_set():
                self._begin(guid)

    def _begin(self, guid: str) -> None:
        try:
            order: Order = self._link.share(guid, Order)
            to = order.destination
            wanted = Sharing(guid, order.backup, to, order.visible)
            self._home.shares.begin(share_order(wanted, self._link.key(to.guid)))
            log.info("shared again: %s", guid)
            if guid not in self._link.needed([guid]):
                self._home.shares.end(guid)  # it was unmounted meanwhile
        except NotFound:
            pass  # unmounted since it was listed
        except HaulbackError as error:
            log.warning("the share %s cannot be begun again: %s", guid, error.message)
