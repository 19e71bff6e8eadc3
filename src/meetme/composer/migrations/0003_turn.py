"""Whose turn it is to be set up and who waits for it, and what was given up before it began."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "composer_given_up",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("path", sa.Integer, primary_key=True),
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "composer_turn",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("has_it", sa.Boolean, nullable=False),
    )
