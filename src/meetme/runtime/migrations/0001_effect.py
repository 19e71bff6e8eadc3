"""The effects owed by every machine."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the ledger's one table."""
    op.create_table(
        "runtime_effect",
        # Never used twice, so that a lease on a row that is gone can not be taken for one on its successor.
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.UniqueConstraint("machine", "instance", "key"),
        sqlite_autoincrement=True,
    )
    op.create_index("runtime_effect_due", "runtime_effect", ["machine", "due"])
