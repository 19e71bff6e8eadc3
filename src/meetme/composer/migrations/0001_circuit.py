"""Circuits, what they claim, offers, the messages they answered, and what is told about them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "composer_circuit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("ordered_by", sa.Text, nullable=False),
        sa.Column("a_member", sa.Text, nullable=False),
        sa.Column("b_member", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("began", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("composer_circuit_state", "composer_circuit", ["state"])
    op.create_table(
        "composer_claim",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("ports", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("label", sa.Integer),
        sa.Column("bandwidth", sa.Integer, nullable=False),
        sa.Column("firm", sa.Boolean, nullable=False),
    )
    op.create_index("composer_claim_ports", "composer_claim", ["kind", "ports"])
    op.create_table(
        "composer_offer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("composer_offer_expires", "composer_offer", ["expires"])
    op.create_table(
        "composer_message",
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("message", sa.Text, primary_key=True),
        sa.Column("circuit", sa.Text, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
    )
    op.create_index("composer_message_expires", "composer_message", ["expires"])
    op.create_table(
        "composer_idempotency",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("circuit", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "composer_event",
        # Never used twice: readers resume by it.
        sa.Column("sequence", sa.Integer, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("circuit", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("composer_event_circuit", "composer_event", ["circuit", "sequence"])
    op.create_table(
        "composer_audit",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
