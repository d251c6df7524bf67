"""Notes of unfinished steps in a driver's folder, which a later clean-up carries out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from haulback.errors import HaulbackError

log = logging.getLogger(__name__)


def is_carried_out(step: Callable[[Path], object], note: Path) -> bool:
    """Carry out a note; returns False if that is not possible yet and the note stays."""
    try:
        step(note)
    except HaulbackError as error:
        log.warning(
            "%s could not be removed now and is left to the next clean-up: %s", note, error.message
        )
        return False
    return True
