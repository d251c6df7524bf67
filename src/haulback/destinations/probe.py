"""Probe of a store's guarantees before a repository relies on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from haulback.clock import Clock, SystemClock
from haulback.contract.destination_probe import EnforcedBy, StoreProbe
from haulback.destinations.pass_through import innermost
from haulback.destinations.protocol import IDENTITY, Lockable, ObjectStore, Probeable
from haulback.destinations.store_retries import Retrying
from haulback.errors import Conflict, HaulbackError, Misconfigured, Unavailable, Unsupported
from haulback.units import MIB

CREATES = 12  # creates at once
_MADE = ("a", "b", "large")  # objects of a probe
_CLOCK_LIMIT = 300_000  # ms; locks and listing delays depend on the clocks of both
_LARGE = 6 * MIB  # bytes; two parts of the smallest size that S3 takes
_CLOCK = SystemClock()
_REPLACES = (
    "the destination replaces existing objects: {}.  Use a store with conditional writes "
    "(If-None-Match), enable conditional writes in the store, or set `singleWriter` and "
    "`node` so that only one node writes there"
)


def require_exclusive_create(destination: ObjectStore, name: str) -> None:
    """Check that the store refuses a create under the name of an existing object.

    The object `name` is stored again with one more byte. A store that accepts this replaces
    objects, so the probe restores the first bytes. Raises Unsupported for such a store, because a
    second writer would replace a manifest or the key of the repository.
    """
    data = destination.load(name)
    try:
        destination.store(name, data + b"\n")
    except Conflict:
        return
    destination.store(name, data)
    raise Unsupported(_REPLACES.format(f"it accepted {name} twice"))


def probe(destination: ObjectStore, clock: Clock = _CLOCK) -> StoreProbe | None:
    """Probe a store in a separate folder, which is empty afterwards.

    None for a store without such a folder.  Raises Conflict if the location belongs to other data,
    Unsupported for a store that replaces objects unless `singleWriter` is set, and Misconfigured
    for a clock that differs by more than 5 minutes.
    """
    store = innermost(destination)
    if not isinstance(store, Probeable):
        return None
    store.check_neighbours()
    corner = store.scratch(os.urandom(8).hex())
    try:
        return _probed(store, corner, clock)
    finally:
        for name in _MADE:
            with suppress(HaulbackError):
                corner.may_delete(name)
        corner.drop()


def _probed(store: Probeable, corner: Probeable, clock: Clock) -> StoreProbe:
    result = StoreProbe(
        time=clock.now_ms(),
        exclusiveCreate=_refuses_second(corner),
        singleWriter=store.is_single_writer,
    )
    if not (result.exclusiveCreate or result.singleWriter):
        raise Unsupported(_REPLACES.format("it accepted a name twice"))
    result.creates, result.winners = CREATES, _winners(Retrying(corner))
    if result.winners != 1:
        told = f"{result.winners} of {CREATES} creates of a name at once succeeded"
        raise Unsupported(_REPLACES.format(told))
    _look(corner, result)
    check_clock(store, result, clock)
    holds = isinstance(store, Lockable) and store.holds_locks
    if isinstance(store, Lockable) and holds:
        store.check_lock()
    result.immutable = EnforcedBy.STORE if holds else EnforcedBy.HAULBACK
    return result


def probe_again(destination: ObjectStore, clock: Clock = _CLOCK) -> StoreProbe | None:
    """The fast part of the probe, on the identity object of a repository; nothing is written.

    Raises Unsupported for a store that replaces objects or whose listing hides the identity object,
    and Misconfigured for a clock that differs.
    """
    store = innermost(destination)
    if not isinstance(store, Probeable):
        return None
    result = StoreProbe(
        time=clock.now_ms(), exclusiveCreate=True, singleWriter=store.is_single_writer
    )
    require_exclusive_create(destination, IDENTITY)
    data = destination.load(IDENTITY)
    result.ranges = destination.load(IDENTITY, 1, len(data) - 1) == data[1:]
    result.listsWrites = (IDENTITY, True) in set(destination.entries(""))
    check_clock(store, result, clock)
    if not (result.ranges and result.listsWrites):
        raise Unsupported(
            f"the destination does not show {IDENTITY} in its list, or reads a part of it wrongly: "
            "it cannot hold a repository"
        )
    return result


def check_clock(store: Probeable, result: StoreProbe, clock: Clock = _CLOCK) -> None:
    """Record by how much the clock of a store is ahead.  Raises Misconfigured for over 5
    minutes.
    """
    theirs = store.clock_ms()
    if theirs is None:
        return
    result.clockOffset = theirs - clock.now_ms()
    if abs(result.clockOffset) > _CLOCK_LIMIT:
        relation = "ahead of" if result.clockOffset > 0 else "behind"
        raise Misconfigured(
            f"the clock of the store is {abs(result.clockOffset) / 60_000:.0f} minutes {relation} "
            "this node's clock: set the clock that is wrong, by NTP"
        )


def _look(corner: Probeable, result: StoreProbe) -> None:
    """Test all other guarantees in the folder of the probe."""
    result.ranges = _reads_parts(corner)
    if not result.ranges:
        raise Unsupported(
            "the destination does not read parts of objects (Range): a restore would read whole "
            "packs for each chunk.  Use another store"
        )
    result.listsWrites = set(corner.entries("")) >= {("a", True), ("b", True)}
    result.multipart = _takes_parts(corner)
    result.links = corner.links()
    result.mayReplace = corner.may_replace("b")
    result.mayDelete = [corner.may_delete(name) for name in _MADE].count(True) > 0
    is_kept = not (result.mayReplace or result.mayDelete)
    result.appendOnly = EnforcedBy.STORE if is_kept else EnforcedBy.HAULBACK


def _refuses_second(corner: Probeable) -> bool:
    """Whether the second of two creates is refused and the first object stays."""
    corner.store("a", b"0123456789")
    try:
        corner.store("a", b"another")
    except Conflict:
        return corner.load("a") == b"0123456789"
    return False


def _reads_parts(corner: ObjectStore) -> bool:
    try:
        return corner.load("a", 3, 4) == b"3456" and corner.load("a", 8) == b"89"
    except Unavailable:
        return False


def _winners(corner: ObjectStore) -> int:
    """The number of creates that succeed, of several creates of one name at once."""

    def create(number: int) -> bool:
        return _succeeds(lambda: corner.store("b", b"%d" % number))

    with ThreadPoolExecutor(CREATES) as pool:
        return sum(pool.map(create, range(CREATES)))


def _takes_parts(corner: Probeable) -> bool | None:
    """Whether a large object is created once; None for a store that accepts every size in one
    request.
    """
    if not corner.has_parts:
        return None
    with TemporaryDirectory(prefix="haulback-probe-") as folder:
        path = Path(folder) / "large"
        path.write_bytes(os.urandom(_LARGE))
        first = path.read_bytes()
        corner.adopt("large", path)
        path.write_bytes(os.urandom(_LARGE))
        is_refused = not _succeeds(lambda: corner.adopt("large", path))
    return is_refused and corner.load("large") == first


def _succeeds(call: Callable[[], None]) -> bool:
    try:
        call()
    except Conflict:
        return False
    return True
