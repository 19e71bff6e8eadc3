"""When something may end. Pure."""

from __future__ import annotations

from datetime import date

from meetme.ixapi.objects import Cancellation
from meetme.model.errors import Refused


class TooEarly(Refused):
    """A day to end on that the notice period does not allow."""

    def __init__(self, wanted: date, possible: Cancellation) -> None:
        super().__init__(
            "cancellation_too_early",
            f"decommission_at: must not be before {possible.decommission_at} ({wanted})",
            hint="ask the cancellation policy",
            field="decommission_at",
        )
        self.possible = possible
