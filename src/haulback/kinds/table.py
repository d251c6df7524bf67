"""All kinds.  A new one is a file beside this and a line in it."""

from __future__ import annotations

from haulback.kinds import (
    connectivity_test,
    destination_init,
    export,
    import_machine,
    inventory_sync,
    restore,
    staging_cleanup,
    store,
)
from haulback.kinds.seam import Kinds

_ALL = (
    connectivity_test.KIND,
    destination_init.KIND,
    export.KIND,
    import_machine.KIND,
    inventory_sync.KIND,
    restore.KIND,
    staging_cleanup.KIND,
    store.KIND,
)
KINDS: Kinds = {kind.type: kind for kind in _ALL}
