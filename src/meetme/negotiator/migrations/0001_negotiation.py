"""Negotiations, what they claim, the messages they answered, and what is told about them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "negotiator_negotiation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("circuit", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("order_id", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("negotiator_negotiation_circuit", "negotiator_negotiation", ["circuit", "state"])
    op.create_index("negotiator_negotiation_peer", "negotiator_negotiation", ["peer", "state"])
    op.create_table(
        "negotiator_request",
        sa.Column("negotiation", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "negotiator_claim",
        sa.Column("negotiation", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("first", sa.Text),
        sa.Column("last", sa.Text),
    )
    op.create_index("negotiator_claim_value", "negotiator_claim", ["kind", "value"])
    op.create_index("negotiator_claim_first", "negotiator_claim", ["kind", "first"])
    op.create_table(
        "negotiator_message",
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("message", sa.Text, primary_key=True),
        sa.Column("negotiation", sa.Text, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
    )
    op.create_index("negotiator_message_expires", "negotiator_message", ["expires"])
    op.create_table(
        "negotiator_attachment",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("router", sa.Text, nullable=False),
        sa.Column("port", sa.Text, nullable=False),
        sa.Column("vlan", sa.Integer),
        sa.Column("mtu", sa.Integer, nullable=False),
    )
    op.create_table(
        "negotiator_idempotency",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("negotiation", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "negotiator_circuit",
        sa.Column("circuit", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "negotiator_event",
        # Never used twice: readers resume by it.
        sa.Column("sequence", sa.Integer, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("negotiation", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("negotiator_event_negotiation", "negotiator_event", ["negotiation", "sequence"])
    op.create_table(
        "negotiator_audit",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
