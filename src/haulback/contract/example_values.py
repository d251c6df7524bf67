"""Values that the examples of requests share."""

from __future__ import annotations

from typing import Final

from haulback.wire import JsonObject

GUID: Final = "f8f73bf9-2445-4bce-a7dd-753be3b40a67"
REF: Final = {"guid": GUID}
LOCATION: Final[JsonObject] = {"guid": GUID, "backup": {"guid": GUID, "name": "web"}}
WINDOW: Final = {"windowStart": 4070908800000, "windowEnd": 4070930400000, "priority": 50}
