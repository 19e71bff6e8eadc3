"""What is built as one, its services and configs, what they claim, and the server's own secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "ixapi_bundle",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("joined", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ixapi_bundle_joined", "ixapi_bundle", ["joined"])
    op.create_table(
        "ixapi_object",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("managing", sa.Text, nullable=False),
        sa.Column("consuming", sa.Text, nullable=False),
        sa.Column("joining", sa.Text),
        sa.Column("external_ref", sa.Text),
        sa.Column("service", sa.Text),
        sa.Column("connection", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ixapi_object_order", "ixapi_object", ["kind", "created", "id"])
    op.create_index("ixapi_object_bundle", "ixapi_object", ["bundle"])
    op.create_index("ixapi_object_external_ref", "ixapi_object", ["external_ref"])
    op.create_index("ixapi_object_service", "ixapi_object", ["service"])
    op.create_index("ixapi_object_connection", "ixapi_object", ["connection"])
    op.create_table(
        "ixapi_claim",
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("label", sa.Integer, primary_key=True),
        sa.Column("bundle", sa.Text, nullable=False),
    )
    op.create_index("ixapi_claim_bundle", "ixapi_claim", ["bundle"])
    op.create_table(
        "ixapi_amount",
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("bundle", sa.Text, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ixapi_secret",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
