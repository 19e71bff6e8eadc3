"""Whether a circuit is kept as a link or as a segment."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; what is there already is of links."""
    op.add_column("configurator_link", sa.Column("kind", sa.Text))
