"""The mark of machines that an IMPORT created."""

from __future__ import annotations

MARK = "haulbackTask"  # in the definition of what an IMPORT made, so that it is made once
