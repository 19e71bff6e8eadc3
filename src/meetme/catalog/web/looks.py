"""Templates, and what they may call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from meetme.catalog.accounts import Role
from meetme.catalog.sight import Sight
from meetme.catalog.web import wording
from meetme.catalog.web.assets import Assets
from meetme.catalog.words import ENDED, UNDER_WAY, Connectivity, Party, State
from meetme.composer.topology_picture import Course, svg_of_course


def environment(assets: Assets) -> Environment:
    """What pages are made with: everything that is not our own text is escaped, and nothing is silently missing."""
    made = Environment(
        loader=PackageLoader("meetme.catalog.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "asset": assets.url,
        "words": wording,
        "Role": Role,
        "Party": Party,
        "State": State,
        "Connectivity": Connectivity,
        "UNDER_WAY": UNDER_WAY,
        "ENDED": ENDED,
        "drawing": drawing,
    }
    made.filters |= {"duration": wording.duration, "amount": wording.amount, "when": when, "clock": clock}
    return made


def when(at: datetime | float) -> str:
    """A day and a time, in UTC as everything is in a federation."""
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def clock(at: datetime | float) -> str:
    """For machines."""
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def drawing(sight: Sight, buyer: str, seller: str) -> Markup | None:
    """The federation with the way through it, where both are known."""
    if sight.federation is None or sight.course is None or not sight.course.path:
        return None
    course: Any = Course(sight.course.path, sight.course.second, (buyer, seller))
    # Names in it are escaped where it is drawn.
    return Markup(svg_of_course(sight.federation, course))
