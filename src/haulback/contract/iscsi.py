"""Names and secrets of iSCSI targets, which the server shows and the node offers."""

from __future__ import annotations

import base64
import hashlib
import hmac

USER = "haulback"
_SECRET = 16  # characters of the CHAP secret; initiators accept 12 to 16


def name_of(guid: str) -> str:
    """iSCSI qualified name (IQN) of the target of a mount."""
    return f"iqn.2026-11.org.haulback:{guid}"


def secret_of(key: bytes, guid: str) -> str:
    """CHAP secret of a mount: an HMAC of its guid under the repository's key, stored nowhere."""
    made = hmac.digest(key, b"iscsi " + guid.encode(), hashlib.sha256)
    return base64.b32encode(made).decode()[:_SECRET]
