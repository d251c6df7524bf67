"""Code page of short FAT names, which FAT volumes do not record.

The default 850 is the code page of MS-DOS and Windows in western Europe; the environment variable
`HAULBACK_FAT_CODE_PAGE` selects another code page.
"""

from __future__ import annotations

import codecs
import os
from typing import Final

from haulback.errors import Malformed

VARIABLE: Final = "HAULBACK_FAT_CODE_PAGE"
USUAL: Final = "850"


def code_page() -> str:
    """Name of the Python codec, for instance cp850. Raises Malformed for an unknown code page."""
    wanted = os.environ.get(VARIABLE) or USUAL
    name = f"cp{wanted.lower().removeprefix('cp')}"
    try:
        codecs.lookup(name)
    except LookupError:
        raise Malformed(
            f"{VARIABLE}: {wanted[:20]!r} is no known code page; use a code page such as 437, "
            "850, 866 or 932, or unset the variable",
            field=VARIABLE,
        ) from None
    return name
