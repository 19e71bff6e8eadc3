"""A made-up federation as `GET /api/v1/topology` shows it."""

from __future__ import annotations

from meetme.cli.federation_model import generate
from meetme.composer.advertisement import Advertisement
from meetme.composer.spreading import Neighbour
from meetme.composer.topology import Atlas
from meetme.composer.topology_views import TopologyView, view
from meetme.model.agreement import MemberId
from tests.composer.advertisements import NOW, access, advertisement, nni


def shown(*more: Advertisement, count: int = 0) -> TopologyView:
    """Three exchanges in a triangle, one end of a link that nobody confirms, and `count` that are made up."""
    names = ("ixp-a", "ixp-b", "ixp-c")
    ads = [
        advertisement(
            name,
            access("p1", f"csp-{name[-1]}"),
            *(nni(f"to-{other}", other, f"to-{name}", latency_ms=2.5) for other in names if other != name),
        )
        for name in names
    ]
    if count:
        model = generate(count, 1)
        ads = [model.advertisement(i, near, now=NOW, version=1) for i, near in enumerate(model.lines_of())]
    away = Neighbour(NOW, problem="peer 'ixp-b': must be reachable")
    return view(MemberId("ixp-a"), Atlas((*ads, *more), NOW), {MemberId("ixp-b"): away}, NOW + 42)
