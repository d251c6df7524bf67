"""Owner records: create-only and numbered; the newest record names the server that may write.

docs/design/catalogue-on-the-destination.md lists what the records do not prevent.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

import msgspec
from cryptography.exceptions import InvalidTag

from haulback.contract.order_records import Owner
from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Damaged, NotFound, OwnerChanged, Unavailable
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, exists, number_name
from haulback.repository.recent import Recent
from haulback.units import DAY_MS, counted

FOLDER = "owners"
WAIT_MS = DAY_MS  # time of the store's clock in which a new owner deletes nothing
_PROBE = "aside"  # a folder whose objects readers ignore


class OwnerRecord(msgspec.Struct, frozen=True):
    """A server that became the owner at `time` by the task `by`; other members as in `Owner`."""

    server: str
    name: str
    time: int
    revoked: bool = False
    by: str = ""


class Owners:
    """The owner records of one repository."""

    def __init__(self, destination: ObjectStore, objects: Objects, keys: Keys) -> None:
        self.destination, self._objects, self._keys = destination, objects, keys
        self.recent: Recent[int, Owner] | None = None  # records that this process has read

    def newest(self) -> Owner:
        """The present owner; number 0 in a repository without records.

        Raises Damaged if the newest record does not open, because an older record no longer counts.
        """
        number = max(self._objects.numbers(FOLDER), default=0)
        return self.after(number) if number else Owner()

    def after(self, number: int) -> Owner:
        """The present owner, found from a record on that was read or reported before.

        Raises NotFound, Damaged.
        """
        while self.is_taken(number + 1):
            number += 1
        return self.read(number)

    def read(self, number: int) -> Owner:
        """The owner of a record, which never changes.  Raises NotFound, Damaged."""
        if self.recent and (known := self.recent.get(number)):
            return known
        owner = _owner(number, self._record(number))
        if self.recent:
            self.recent.put(number, owner)
        return owner

    def _record(self, number: int) -> OwnerRecord:
        name = number_name(FOLDER, number)
        try:
            plain = self._keys.unseal("owner", name.encode(), self.destination.load(name))
            return msgspec.json.decode(plain, type=OwnerRecord)
        except (InvalidTag, msgspec.DecodeError):
            raise Damaged(
                f"{name} is damaged: the owner of the repository is unknown; take the "
                "destination over",
                name=name,
            ) from None

    def was_taken_over(self, number: int) -> bool:
        """Whether a take-over stored the record with a number, rather than the first write of a
        server.

        Raises NotFound, Damaged.
        """
        return number > 1 or bool(self._record(number).by)

    def problems(self) -> dict[str, str]:
        """The sentence about a newest record that does not open, by object name."""
        try:
            self.newest()
        except Damaged as error:
            return {str(error.details["name"]): error.message}
        return {}

    def is_taken(self, number: int) -> bool:
        """Whether a record has this number, readable or not."""
        try:
            # Stores answer the status of a missing object by two requests, and its bytes by one.
            self.destination.load(number_name(FOLDER, number), 0, 1)
        except NotFound:
            return False
        except Damaged:
            return True
        except Unavailable:
            # Stores refuse a range of an empty object, which a torn create may leave.
            return exists(self.destination, number_name(FOLDER, number))
        return True

    def claim(self, number: int, record: OwnerRecord) -> Owner:
        """Store the record of a number.  Raises Conflict when another server was faster."""
        name = number_name(FOLDER, number)
        sealed = self._keys.seal("owner", name.encode(), msgspec.json.encode(record))
        self.destination.store(name, sealed)
        return _owner(number, record)

    def take_over(self, record: OwnerRecord) -> Owner:
        """Become the owner, replacing any other owner; repeating the same task is no error.

        Raises Conflict when another server takes over at the same time.
        """
        number = max(self._objects.numbers(FOLDER), default=0)
        while self.is_taken(number + 1):
            number += 1
        with suppress(Damaged, NotFound):
            if number and record.by and (present := self._record(number)).by == record.by:
                return _owner(number, present)
        try:
            return self.claim(number + 1, record)
        except Conflict:
            raise Conflict(
                "another server took the repository over at the same time; take the "
                "destination over again to make this server the owner"
            ) from None

    def stored_at(self, number: int) -> int | None:
        """The time at which a record was stored, by the store's own clock; None if unknown."""
        return self.destination.info(number_name(FOLDER, number)).stored

    def store_now(self) -> int | None:
        """The store's present time, by an object that is stored and removed; None if unknown."""
        name = f"{_PROBE}/clock-{os.urandom(8).hex()}"
        self.destination.store(name, str(time.time_ns()).encode())
        try:
            return self.destination.info(name).stored
        finally:
            self.destination.delete(name)


def _owner(number: int, record: OwnerRecord) -> Owner:
    return Owner(number, record.server, record.name, record.time, record.revoked)


class Ownership:
    """The right of the server in an order to write to a repository."""

    def __init__(self, owners: Owners, wanted: Owner, now_ms: int) -> None:
        self._owners, self._wanted, self._now = owners, wanted, now_ms
        self.present = Owner()  # the newest record that was read
        self._may_delete = False

    def check(self) -> None:
        """Raise OwnerChanged if another server is the owner, or a newer record exists.

        The first call reads the record that the order names; each call checks whether the next
        record exists.
        """
        if not self.present.number:
            self.present = self._first()
        elif self._owners.is_taken(self.present.number + 1):
            self.present = self._owners.newest()
        self._compare()

    def _first(self) -> Owner:
        with suppress(NotFound):  # the error lists the records that are there
            if self._wanted.number:
                return self._owners.after(self._wanted.number)
        return self._owners.newest()

    def _compare(self) -> None:
        newest, wanted = self.present, self._wanted
        if not newest.number and not wanted.number:
            return
        if newest.server == wanted.server and wanted.number in (0, newest.number):
            return
        raise OwnerChanged(_changed(newest, wanted))

    def begin(self) -> None:
        """Check once, unless the records were read before; store the first record of a repository
        that has none.
        """
        if not self.present.number:
            self.check()
        if not self.present.number:
            record = OwnerRecord(self._wanted.server, self._wanted.name, self._now)
            with suppress(Conflict):  # another task was faster
                self.present = self._owners.claim(1, record)
            self.check()

    def check_deletion(self) -> None:
        """Raise OwnerChanged as `check` does, and Conflict while a new owner may not delete yet."""
        self.check()
        if not self._may_delete:
            self.present = self._owners.newest()  # from a listing, which also shows missing numbers
            self._compare()
            _refuse_early(self._owners, self.present)
            self._may_delete = True


def _refuse_early(owners: Owners, owner: Owner) -> None:
    if not owner.number or owner.revoked or not owners.was_taken_over(owner.number):
        return
    remedy = (
        "revoke the deleting credential of the old owner, then take over again with "
        "--old-credential-revoked"
    )
    begun = owners.stored_at(owner.number)
    now = None if begun is None else owners.store_now()
    if begun is None or now is None:
        raise Conflict(
            "nothing is deleted: the store reports no times, so that the waiting time is unknown; "
            f"{remedy}"
        )
    if now - begun < WAIT_MS:
        hours = -(-(WAIT_MS - (now - begun)) // 3_600_000)
        raise Conflict(
            f"nothing is deleted for another {counted(hours, 'hour')} of the store's clock: the "
            "repository was taken over, and the old owner may still run; to delete sooner "
            f"{remedy}"
        )


def _changed(newest: Owner, wanted: Owner) -> str:
    if not newest.number:
        return (
            f"the owner records of the repository are gone (record {wanted.number} is missing): "
            "nothing was published or deleted; take over the destination if this server is its "
            "owner"
        )
    return (
        f"the server {newest.name or newest.server} has taken the destination over (owner record "
        f"{newest.number}; this server has {wanted.number or 'none'}): nothing was published or "
        "deleted; remove the destination here, or take it over"
    )
