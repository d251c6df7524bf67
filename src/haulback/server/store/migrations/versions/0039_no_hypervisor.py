"""The name of the record above machines that have no hypervisor."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Rename the record, unless a hypervisor of a user has the name.

    Its machines came with an attached repository, or their hypervisor was given up.
    """
    op.execute(
        sa.text(
            "UPDATE hypervisor SET name = 'Without a hypervisor' "
            "WHERE guid = '95195a27-07ca-5c90-881f-b0d2ef68969e' AND NOT EXISTS "
            "(SELECT 1 FROM hypervisor AS other WHERE other.name = 'Without a hypervisor')"
        )
    )
