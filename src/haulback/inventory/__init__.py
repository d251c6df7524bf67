"""Inventory and backup catalogue: records, and the Protocols through which task kinds read them."""
