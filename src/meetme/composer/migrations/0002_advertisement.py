"""What the exchanges of the federation say about themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "composer_advertisement",
        sa.Column("member", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
