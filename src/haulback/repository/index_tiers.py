"""The index files to merge: so many of one size tier that the number of files stays logarithmic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from haulback.repository.segment import Segment

FAN_IN = 8  # files of about one size that become the next larger one
_SMALLEST_TIER = 1 << 12


def due(segments: Iterable[Segment]) -> list[Segment]:
    """The index files to merge next: a size tier (a factor of eight) with FAN_IN files or more."""
    tiers = defaultdict(list)
    for segment in segments:
        tiers[max(len(segment), _SMALLEST_TIER).bit_length() // 3].append(segment)
    full = [tier for tier in sorted(tiers) if len(tiers[tier]) >= FAN_IN]
    return tiers[full[0]] if full else []
