"""The login limiter slows guesses of passwords, not portals that log in on every request.

A recent successful login is recognised without the slow hash, and succeeds even while other clients
are limited.  The limiter recognises a login by a keyed digest, whose key exists only in this
process.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections import OrderedDict, deque
from threading import Lock

from haulback.errors import TooMany, Unauthenticated
from haulback.server.caller import Account
from haulback.server.services.passwords import Hashing
from haulback.server.store import accounts
from haulback.server.store.engine import Store

_FRESH = 300.0  # seconds for which a successful login is recognised
_WINDOW, _GUESSES = 60.0, 10  # failed logins from one address for one account
_KEPT = 10_000  # entries of each table, some megabytes
# A digest of the login, because clients choose its length; and an address.
Guesser = tuple[bytes, str]


class LoginLimiter:
    """The recognised logins and the failed logins of a server process."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        # guards the tables below; held for look-ups only, because every login waits for it
        self._lock = Lock()
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[Guesser, deque[float]] = OrderedDict()
        self.hashing = Hashing()

    def enter(self, store: Store, login: str, password: str, place: str) -> Account:
        """The account of a login with the right password.  Raises Unauthenticated or TooMany."""
        with store.read() as sql:
            who, stored = accounts.stored_password(sql, login)
        # The digest covers the stored hash, so that a change of the password invalidates it.
        said = "\0".join((login, password, stored)).encode("utf-8", "surrogatepass")
        mark = hmac.digest(self._key, said, hashlib.sha256)
        if who is not None and self._is_fresh(mark):
            return who
        guesser = (hashlib.sha256(login.encode("utf-8", "surrogatepass")).digest(), place)
        guess = self._guess(guesser, login)
        # The hash is slow on purpose, so it is computed outside the transaction.
        try:
            right = self.hashing.run(lambda: accounts.check_password(stored, password), place)
        except TooMany:
            self._take_back(guesser)  # the password was not checked
            raise
        if not right or who is None:
            raise Unauthenticated("the login or the password is wrong")
        with self._lock:
            guess.clear()
            self._right[mark] = time.monotonic() + _FRESH
            while len(self._right) > _KEPT:
                self._right.popitem(last=False)
        return who

    def _take_back(self, guesser: Guesser) -> None:
        """Forget a guess; an entry without guesses is removed to free its memory."""
        with self._lock:
            guesses = self._wrong.get(guesser)
            if guesses:
                guesses.pop()
            if not guesses:
                self._wrong.pop(guesser, None)

    def _is_fresh(self, mark: bytes) -> bool:
        with self._lock:
            until = self._right.get(mark, 0.0)
            if until <= time.monotonic():
                self._right.pop(mark, None)
                return False
            return True

    def _guess(self, who: Guesser, login: str) -> deque[float]:
        """Count a login as failed until it succeeds, so that simultaneous guesses count too.

        Raises TooMany.
        """
        now = time.monotonic()
        with self._lock:
            guesses = self._wrong.setdefault(who, deque())
            self._wrong.move_to_end(who)
            while len(self._wrong) > _KEPT:
                self._wrong.popitem(last=False)
            while guesses and guesses[0] < now - _WINDOW:
                guesses.popleft()
            if len(guesses) >= _GUESSES:
                wait = int(guesses[0] + _WINDOW - now) + 1
                raise TooMany(
                    f"too many wrong passwords for {login[:60]!r}; try again in {wait} seconds",
                    retryAfter=wait,
                )
            guesses.append(now)
            return guesses
