"""What is kept of every circuit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the one table."""
    op.create_table(
        "configurator_link",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text),
        sa.Column("intent", sa.Text),
        sa.Column("deadline", sa.Double),
        sa.Column("base", sa.Text),
    )
