"""The mark of machines that an IMPORT created."""

from __future__ import annotations

MARK = "haulbackTask"  # member in the definition of an imported machine, for a repeated IMPORT
