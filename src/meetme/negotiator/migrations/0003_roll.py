"""What of an active agreement is compared with the peer, to be read without reading the rest."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; what is active already is asked about once, and has them from then on."""
    op.add_column("negotiator_negotiation", sa.Column("agreed", sa.Integer))
    op.add_column("negotiator_negotiation", sa.Column("changes", sa.Integer))
