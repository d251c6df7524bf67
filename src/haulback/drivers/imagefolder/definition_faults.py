"""Faults of a machine definition file, each as a sentence with its line and the remedy."""

from __future__ import annotations

import json
import re

import msgspec

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def of_syntax(data: bytes) -> str:
    """The sentence for bytes that are not JSON."""
    try:
        json.loads(data.decode())
    except json.JSONDecodeError as error:
        return (
            f"line {error.lineno}, column {error.colno} is not JSON ({error.msg}); correct this "
            "place (`python3 -m json.tool FILE` checks the file)"
        )
    except UnicodeDecodeError as error:
        return f"line {_line(data, error.start)} is not UTF-8; save the file in UTF-8"
    return "the text is not JSON; `python3 -m json.tool FILE` checks the file"


def of_member(data: bytes, error: msgspec.ValidationError) -> str:
    """The sentence for a member that is missing or of a wrong type."""
    why, _, path = str(error).partition(" - at `$")
    path = path.removesuffix("`")
    place = f"line {_line(data, _offset(data, path))}: " if path else ""
    member = f"`{path.removeprefix('.')}`: " if path else ""
    return f"{place}{member}{why[:1].lower()}{why[1:]}; correct the member"


def _line(data: bytes, offset: int) -> int:
    """The number of the line of a byte, from 1."""
    return data.count(b"\n", 0, offset) + 1


def _offset(data: bytes, path: str) -> int:
    """The first byte of the value at a path such as `.disks[1].name`, in bytes that are JSON."""
    offset, value = 0, data
    for name, index in _STEP.findall(path):
        if index:
            items = msgspec.json.decode(value, type=list[msgspec.Raw])[: int(index) + 1]
            within = 0
            for item in items:
                within = value.index(bytes(item), within) + 1
            value, offset = bytes(items[-1]), offset + within - 1
            continue
        inner = bytes(msgspec.json.decode(value, type=dict[str, msgspec.Raw])[name])
        key = value.find(json.dumps(name).encode())
        within = value.index(inner, max(key, 0) + len(name))
        value, offset = inner, offset + within
    return offset
