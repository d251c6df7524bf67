"""Scheduling rules: queue rank, concurrency limits and retry delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

# Time that one point of priority is worth, so that tasks of priority 0 never starve.
HEAD_START_MS = 600_000
LANES = {
    "inventory": 1,
    "export": 3,
    "store": 3,
    "copy": 2,
    "restore": 3,
    "import": 3,
    "snapshot": 5,
    "upkeep": 2,
    "cleanup": 2,
    "verify": 2,
}
PER_SOURCE = {"export": 2, "snapshot": 2}
# Two clean-ups of one destination would conflict.
PER_DESTINATION = {"store": 8, "copy": 4, "cleanup": 1, "verify": 1}
_LIMITS = {"": LANES, "source": PER_SOURCE, "destination": PER_DESTINATION}
# Lanes whose tasks read or write a destination, so that they wait while its breaker is open.
AT_DESTINATION = frozenset(("export", "store", "copy", "restore", "import", "cleanup", "verify"))
NEW_BACKUPS = "export"  # the lane whose tasks wait for space on their destination
COPYING = "copy"  # the lane whose tasks also read from a source destination
MAX_ATTEMPTS = 5  # first delay of a task whose node was lost or whose parts were unavailable
_FIRST_RETRY_MS = 5_000  # factor by which the delay grows with each attempt
_LAST_RETRY_MS = 900_000  # longest delay


def rank(ready_ms: int, priority: int) -> int:
    """Queue rank, lowest first: ready time (epoch ms) less HEAD_START_MS per priority point."""
    return ready_ms - priority * HEAD_START_MS


def source_slot(lane: str, source: str | None) -> str | None:
    """Name the limit row for a lane's tasks of one source, None if no limit applies."""
    return f"source:{source}:{lane}" if source and lane in PER_SOURCE else None


def destination_slot(lane: str, destination: str | None) -> str | None:
    """Name the limit row for a lane's tasks of one destination, None if no limit applies."""
    return f"destination:{destination}:{lane}" if destination and lane in PER_DESTINATION else None


def node_slot(node: str, lane: str) -> str:
    """Name the limit row for a lane's tasks on one node."""
    return f"node:{node}:{lane}"


def share_slot(node: str, lane: str, destination: str) -> str:
    """Name the limit row for a lane's tasks of one destination on one node."""
    return f"share:{node}:{lane}:{destination}"


def most(slot: str, limits: Mapping[str, int]) -> int:
    """Return the number of concurrent tasks that a limit row allows.

    `limits` overrides the defaults by `<lane>`, `<lane>.source` or `<lane>.destination`.
    """
    subject, _, rest = slot.partition(":")
    if subject == "share":  # one slot of the lane is reserved for other destinations
        return max(1, most(f"node:{rest.rpartition(':')[0]}", limits) - 1)
    lane = rest.rpartition(":")[2]
    if subject == "node":
        return limits.get(lane, LANES[lane])
    if subject == "source":
        return limits.get(f"{lane}.source", PER_SOURCE[lane])
    if subject == "destination":
        return limits.get(f"{lane}.destination", PER_DESTINATION[lane])
    return 1


def limit_names() -> list[str]:
    """The names of all limits: `<lane>`, `<lane>.source`, `<lane>.destination`."""
    return [f"{lane}.{of}" if of else lane for of, lanes in _LIMITS.items() for lane in lanes]


def is_limit(name: str) -> bool:
    """Whether `name` is the name of a limit."""
    lane, _, of = name.partition(".")
    return lane in _LIMITS.get(of, ())


def entity_slot(entity: str) -> str:
    """Name the limit row that allows one mutating task of an entity at a time."""
    return f"entity:{entity}"


def back_off(tries_left: int, tries: int, random: Random) -> int:
    """Delay of a retry in ms: exponential, capped at 15 minutes, with 25 % jitter."""
    made = max(0, tries - tries_left)
    wait = min(_LAST_RETRY_MS, _FIRST_RETRY_MS << min(made, 20))
    return int(wait * (0.75 + random.random() / 2))


def waiting_for(slot: str) -> str:
    """Describe a full limit row as the reason why a task waits."""
    subject, _, rest = slot.partition(":")
    lane = rest.rpartition(":")[2]
    if subject == "share":
        lane = rest.split(":")[-2]
        return f"the node runs as many {lane} tasks of this destination as it may"
    if subject == "entity":
        return "another task works on the same entity"
    if subject in ("source", "destination"):
        return f"the {subject} has as many {lane} tasks as it may"
    return f"the node runs as many {lane} tasks as it may"


def busy_nodes(slots: Sequence[str | None]) -> str:
    """Describe the full limit rows of the nodes that can run a task, "" if a node has none."""
    full = [slot for slot in slots if slot]
    if not full or len(full) < len(slots):
        return ""
    if len(full) == 1:
        return waiting_for(full[0])
    is_share = all(slot.startswith("share:") for slot in full)
    lane = full[0].split(":")[2]
    of_what = " of this destination" if is_share else ""
    return f"each node that can run it runs as many {lane} tasks{of_what} as it may"
