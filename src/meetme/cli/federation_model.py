"""Made-up federations for measurements: exchanges in the cities of the world, the same for the same seed.

Where a city lies is rounded to a tenth of a degree. Who is joined with whom follows from distance: everybody is reached
over the shortest lines that join all, has more lines to near ones, and a few large exchanges have lines to far ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from random import Random

from meetme.composer.advertisement import ANY, AdvertisedPoint, Advertisement, PointKind, Transit
from meetme.model.agreement import MemberId
from meetme.model.members import MemberKind

CITIES = """
AMS NL 52.4 4.9|FRA DE 50.1 8.7|LON GB 51.5 -0.1|PAR FR 48.9 2.4|MAD ES 40.4 -3.7|MIL IT 45.5 9.2|ROM IT 41.9 12.5
VIE AT 48.2 16.4|ZRH CH 47.4 8.5|PRG CZ 50.1 14.4|WAW PL 52.2 21.0|STO SE 59.3 18.1|OSL NO 59.9 10.8|HEL FI 60.2 24.9
CPH DK 55.7 12.6|DUB IE 53.3 -6.3|LIS PT 38.7 -9.1|ATH GR 38.0 23.7|IST TR 41.0 29.0|BUC RO 44.4 26.1|SOF BG 42.7 23.3
KYI UA 50.5 30.5|BUD HU 47.5 19.0|BRU BE 50.8 4.4|RIX LV 56.9 24.1|TLL EE 59.4 24.8|NYC US 40.7 -74.0|ASH US 39.0 -77.5
CHI US 41.9 -87.6|DAL US 32.8 -96.8|LAX US 34.1 -118.2|SJC US 37.3 -121.9|SEA US 47.6 -122.3|MIA US 25.8 -80.2
ATL US 33.7 -84.4|DEN US 39.7 -105.0|YYZ CA 43.7 -79.4|YUL CA 45.5 -73.6|YVR CA 49.3 -123.1|MEX MX 19.4 -99.1
GRU BR -23.5 -46.6|RIO BR -22.9 -43.2|FOR BR -3.7 -38.5|EZE AR -34.6 -58.4|SCL CL -33.4 -70.7|BOG CO 4.7 -74.1
LIM PE -12.0 -77.0|JNB ZA -26.2 28.0|CPT ZA -33.9 18.4|NBO KE -1.3 36.8|LOS NG 6.5 3.4|ACC GH 5.6 -0.2|CAI EG 30.0 31.2
DXB AE 25.2 55.3|DOH QA 25.3 51.5|TLV IL 32.1 34.8|BOM IN 19.1 72.9|DEL IN 28.6 77.2|MAA IN 13.1 80.3|SIN SG 1.4 103.8
KUL MY 3.1 101.7|JKT ID -6.2 106.8|BKK TH 13.8 100.5|HAN VN 21.0 105.8|MNL PH 14.6 121.0|HKG HK 22.3 114.2
TPE TW 25.0 121.6|TYO JP 35.7 139.7|OSA JP 34.7 135.5|SEL KR 37.6 127.0|SYD AU -33.9 151.2|MEL AU -37.8 145.0
PER AU -31.9 115.9|AKL NZ -36.8 174.8
"""
EARTH_KM, KM_PER_MS, DETOUR = 6371.0, 204.0, 1.5
"""Light in fibre, and how much longer a line is than the distance."""
ACCESS_PORTS = 3
DAYS = 86400.0


@dataclass(frozen=True, slots=True)
class Site:
    """One exchange of the model."""

    name: MemberId
    city: str
    country: str
    latitude: float
    longitude: float
    weight: float
    """How large it is: 1 is the largest."""


@dataclass(frozen=True, slots=True)
class Line:
    """A link between two of them."""

    a: int
    b: int
    latency_ms: float
    bandwidth: int
    price: float
    risk: str


@dataclass(frozen=True, slots=True)
class Model:
    """A whole federation, before anybody says anything."""

    sites: tuple[Site, ...]
    lines: tuple[Line, ...]

    def lines_of(self) -> list[list[Line]]:
        """The lines at each site."""
        found: list[list[Line]] = [[] for _ in self.sites]
        for line in self.lines:
            found[line.a].append(line)
            found[line.b].append(line)
        return found

    def advertisement(self, index: int, lines: Iterable[Line], *, now: float, version: int) -> Advertisement:
        """What the exchange of this index says of itself."""
        site = self.sites[index]
        points = [
            AdvertisedPoint(
                port=f"p{number}",
                kind=PointKind.ACCESS,
                member=MemberId(f"csp-{index:04}-{number}"),
                bandwidth=10_000,
                facility=f"{site.city}-{number % 3}",
            )
            for number in range(1, ACCESS_PORTS + 1)
        ]
        for line in lines:
            other = line.b if line.a == index else line.a
            points.append(
                AdvertisedPoint(
                    port=f"n{other:04}",
                    kind=PointKind.NNI,
                    neighbour=self.sites[other].name,
                    neighbour_port=f"n{index:04}",
                    bandwidth=line.bandwidth,
                    mtu=9000,
                    facility=f"{site.city}-{other % 3}",
                    risks=frozenset({line.risk}),
                    latency_ms=line.latency_ms,
                    price=line.price / 2,
                )
            )
        return Advertisement(
            member=site.name,
            kind=MemberKind.IXP,
            country=site.country,
            version=version,
            issued=now,
            expires=now + DAYS,
            points=tuple(points),
            transits=(Transit(a=ANY, b=ANY, latency_ms=0.2, bandwidth=400_000, price=0.05),),
        )


def generate(count: int, seed: int) -> Model:
    """A federation of `count` exchanges, connected."""
    random = Random(seed)
    cities = [_city(text) for row in CITIES.split("\n") for text in row.split("|") if text.strip()]
    sites = []
    for index in range(count):
        code, country, latitude, longitude = cities[index] if index < len(cities) else random.choice(cities)
        # Those after the first of a city lie somewhere around it.
        spread = 0.0 if index < len(cities) else 3.0
        where = (latitude + random.uniform(-spread, spread), longitude + random.uniform(-spread, spread))
        sites.append(Site(MemberId(f"ixp-{index:04}"), code, country, *where, random.random() ** 2))
    pairs = set(_tree(sites)) | set(_near(sites, random)) | set(_far(sites, random))
    return Model(tuple(sites), tuple(_line(sites, a, b, random) for a, b in sorted(pairs)))


def _city(text: str) -> tuple[str, str, float, float]:
    code, country, latitude, longitude = text.split()
    return code, country, float(latitude), float(longitude)


def kilometres(one: Site, other: Site) -> float:
    """Along the great circle."""
    a, b = radians(one.latitude), radians(other.latitude)
    half = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(other.longitude - one.longitude) / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def _tree(sites: list[Site]) -> Iterator[tuple[int, int]]:
    """The shortest lines that join all (Prim 1957)."""
    best = {index: (kilometres(sites[0], site), 0) for index, site in enumerate(sites) if index}
    while best:
        index = min(best, key=lambda each: best[each])
        _, other = best.pop(index)
        yield min(index, other), max(index, other)
        for left, (known, _) in best.items():
            far = kilometres(sites[index], sites[left])
            if far < known:
                best[left] = (far, index)


def _near(sites: list[Site], random: Random) -> Iterator[tuple[int, int]]:
    for index, site in enumerate(sites):
        others = sorted((kilometres(site, other), at) for at, other in enumerate(sites) if at != index)
        for _, at in others[: random.choice((1, 2, 2, 3))]:
            yield min(index, at), max(index, at)


def _far(sites: list[Site], random: Random) -> Iterator[tuple[int, int]]:
    large = sorted(range(len(sites)), key=lambda index: -sites[index].weight)[: max(2, len(sites) // 20)]
    for index in large:
        for _ in range(5):
            other = random.choice(large)
            if other != index:
                yield min(index, other), max(index, other)


def _line(sites: list[Site], a: int, b: int, random: Random) -> Line:
    far = kilometres(sites[a], sites[b])
    duct = "-".join(sorted((sites[a].city, sites[b].city)))
    return Line(
        a,
        b,
        latency_ms=round(0.1 + DETOUR * far / KM_PER_MS, 3),
        bandwidth=random.choice((10_000, 10_000, 100_000, 100_000, 400_000)),
        price=round(0.05 + far / 5000 * random.uniform(0.7, 1.3), 4),
        risk=f"duct-{duct}-{random.randrange(3)}",
    )
