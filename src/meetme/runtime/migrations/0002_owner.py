"""Leases by their owner, to find those of a process that has died."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Index the few effects that are leased at any moment."""
    held = sa.text("owner IS NOT NULL")
    op.create_index("runtime_effect_owner", "runtime_effect", ["owner"], sqlite_where=held, postgresql_where=held)
