"""The code page of short FAT names, which no FAT volume names.

850 is that of MS-DOS and Windows in western Europe; `HAULBACK_FAT_CODE_PAGE` names another one.
"""

from __future__ import annotations

import codecs
import os
from typing import Final

from haulback.errors import Malformed

VARIABLE: Final = "HAULBACK_FAT_CODE_PAGE"
USUAL: Final = "850"


def code_page() -> str:
    """The name of the codec, such as cp850.  Raises Malformed."""
    wanted = os.environ.get(VARIABLE) or USUAL
    name = f"cp{wanted.lower().removeprefix('cp')}"
    try:
        codecs.lookup(name)
    except LookupError:
        raise Malformed(
            f"{VARIABLE}: {wanted[:20]!r} is no known code page; name one such as 437, 850, 866"
            " or 932, or leave it out",
            field=VARIABLE,
        ) from None
    return name
