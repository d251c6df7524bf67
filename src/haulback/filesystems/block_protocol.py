"""Requests of the sandbox for blocks of the disks.

A request is the number of a disk (2 bytes), an offset (8 bytes) and a length (4 bytes), big endian.
The response is one byte (0 for success), followed by the data on success.
"""

from __future__ import annotations

import struct
from typing import Final

from haulback.units import MIB

REQUEST: Final = struct.Struct(">HQI")
LARGEST: Final = MIB  # bytes of a request
