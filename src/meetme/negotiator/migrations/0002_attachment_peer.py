"""Whom a circuit leads to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; what is registered already is open to every peer, as it was."""
    op.add_column("negotiator_attachment", sa.Column("peer", sa.Text))
