"""Units of size, rate and duration, and their printed forms; counts with their nouns."""

from __future__ import annotations

from datetime import UTC, datetime

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
DAY_MS = 86_400_000

_STEPS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Bytes in IEC units with three significant digits: `size(1536) == "1.5 KiB"`.

    Values from 1,000 to 1,023 have four: `size(1020 * 1024) == "1020 KiB"`.
    """
    value = float(count)
    for step in _STEPS[:-1]:
        if abs(value) < 1024:
            return f"{int(value)} B" if step == "B" else f"{_digits(value)} {step}"
        value /= 1024
    return f"{_digits(value)} {_STEPS[-1]}"


def _digits(value: float) -> str:
    """A number with three significant digits, without an exponent."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def rate(bytes_per_second: float) -> str:
    """Bytes per second in IEC units: `rate(2**20) == '1 MiB/s'`."""
    return f"{size(bytes_per_second)}/s"


def counted(count: int, noun: str) -> str:
    """A count with its noun: `counted(1, "backup") == "1 backup"`, and `2 backups`."""
    return f"{count} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun: `plural("copy") == "copies"`, `plural("day") == "days"`."""
    is_after_consonant = noun.endswith("y") and noun[-2:-1] not in "aeiou"
    return f"{noun[:-1]}ies" if is_after_consonant else f"{noun}s"


def duration(seconds: float) -> str:
    """Seconds as text: `duration(75) == '1m 15s'`.

    Below a minute the text has one decimal; from one day on it shows days and hours.
    """
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, rest = divmod(hours, 24)
    if days:
        return f"{days}d {rest:02d}h"
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {seconds:02d}s"


def utc(ms: int) -> str:
    """A time in epoch ms as text: `utc(0) == "1970-01-01 00:00:00 UTC"`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
