"""Whether packets cross: through the router's configurator, or from the own host where that cannot probe."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meetme.model.addresses import Address
from meetme.model.agreement import Agreement
from meetme.model.errors import Fault, InvalidInput, MeetMeError, Problem, Unreachable, Unsupported
from meetme.model.intent import ProbeReport, ProbeRequest
from meetme.negotiator import events as ev
from meetme.negotiator.health import FAMILY_NOT_CARRIED, MTU_NOT_CARRIED, Crossed, Round
from meetme.negotiator.host_probe import HOST_SECONDS, HostProbe
from meetme.negotiator.intents import along_the_path, families, host_target, probe_requests
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.routers import CALL_SECONDS, Routers, limited
from meetme.runtime.clock import Clock
from meetme.runtime.correlation import about


class Probing:
    """Proves a new agreement, and looks at one that is active."""

    def __init__(self, routers: Routers, clock: Clock, host: HostProbe | None = None) -> None:
        """`host`: how the own host asks where a router's configurator cannot; None: it does not."""
        self._routers = routers
        self._clock = clock
        self._host = host

    # --- the proof ----------------------------------------------------------------------------------------------------

    async def prove(self, n: Negotiation, within: float) -> ev.Probed | ev.ProbeFailed | None:
        """Ask until everything was answered. Raises Unreachable, where the same has to be asked again."""
        if n.agreement is None:
            return None
        requests = probe_requests(n.agreement, n.role, target=n.probe_target, within=within)
        if not await self._probes(n):
            return await self._prove_from_host(n, n.agreement, within)
        if not requests:
            return ev.Probed(self._clock.now(), None)
        try:
            reports = await self._ask_all(n, requests)
        except Unreachable:
            raise
        except Unsupported:
            return await self._prove_from_host(n, n.agreement, within)
        except MeetMeError as error:
            return ev.ProbeFailed(self._clock.now(), error.problem)
        if (problem := _lacking(requests, reports)) is not None:
            return ev.ProbeFailed(self._clock.now(), problem)
        # The customers' path is seen where it is in each of their families.
        seen = {request.target.version for request in requests if along_the_path(request, n.agreement)}
        path = seen >= families(n.agreement) and all(along_the_path(request, n.agreement) for request in requests)
        # What it lost says nothing: it begins before the other side is configured.
        return ev.Probed(self._clock.now(), Verified.PATH if path else Verified.LINK, reports[0].rtt_ms)

    async def _prove_from_host(self, n: Negotiation, agreement: Agreement, within: float) -> ev.Probed:
        """What the own host can prove. That it cannot is no failure."""
        target = host_target(agreement, n.role, n.probe_target)
        rtt = None if target is None else await self._ask_from_host(n, agreement, target, within)
        return ev.Probed(self._clock.now(), None if rtt is None else Verified.PATH, rtt)

    # --- a look -------------------------------------------------------------------------------------------------------

    async def look(self, n: Negotiation, within: float) -> Round | None:
        """One round: each size is sent once. None: this side has nothing to look with.

        The routers ask each other; a probe target, which is a host and may be switched off, only where they cannot.
        """
        if n.agreement is None:
            return None
        try:
            if not await self._probes(n):
                return await self._look_from_host(n, n.agreement, within)
            requests = self._rounds(n, n.agreement, within)
            if not requests:
                return None
            reports = await self._ask_all(n, requests)
        except Unsupported:
            return await self._look_from_host(n, n.agreement, within)
        except InvalidInput as error:
            # The router has lost the address to ask from: no answer can reach it.
            return Round(self._clock.now(), Crossed.NOTHING, 1, 1, None, error.problem)
        except MeetMeError as error:
            return Round(self._clock.now(), Crossed.UNKNOWN, problem=error.problem)
        return _round(self._clock.now(), requests, reports)

    @staticmethod
    def _rounds(n: Negotiation, agreement: Agreement, within: float) -> tuple[ProbeRequest, ...]:
        routers = probe_requests(agreement, n.role, target=None, within=within, every=within)
        return routers or probe_requests(agreement, n.role, target=n.probe_target, within=within, every=within)

    async def _look_from_host(self, n: Negotiation, agreement: Agreement, within: float) -> Round | None:
        """From the own host, if that is what once proved it."""
        target = host_target(agreement, n.role, n.probe_target)
        if self._host is None or target is None or n.verified is None:
            return None
        rtt = await self._ask_from_host(n, agreement, target, within)
        at = self._clock.now()
        if rtt is None:
            return Round(at, Crossed.NOTHING, 1, 1, None, _no_answer_to_host(target))
        return Round(at, Crossed.ALL, 1, 0, rtt)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _probes(self, n: Negotiation) -> bool:
        router = self._routers.get(n.attachment.router)
        view = router.view or await router.look()
        return view.capabilities.probe

    async def _ask_all(self, n: Negotiation, requests: Sequence[ProbeRequest]) -> list[ProbeReport]:
        """Side by side: each has as long as there is. Raises what the first one raised, once all have ended."""
        reports = await asyncio.gather(*(self._ask(n, request) for request in requests), return_exceptions=True)
        for report in reports:
            if isinstance(report, BaseException):
                raise report
        return [report for report in reports if isinstance(report, ProbeReport)]

    async def _ask(self, n: Negotiation, request: ProbeRequest) -> ProbeReport:
        router = self._routers.get(n.attachment.router)
        control = await router.control()
        async with limited(router.name, request.within + CALL_SECONDS):
            with about(n.id):
                return await control.probe(request)

    async def _ask_from_host(
        self, n: Negotiation, agreement: Agreement, target: Address, within: float
    ) -> float | None:
        if self._host is None:
            return None
        source, tcp = agreement.side(n.role).probe, n.probe_target is not None
        return await self._host(target, source=source, tcp=tcp, within=min(within, HOST_SECONDS))


def _round(at: float, requests: Sequence[ProbeRequest], reports: Sequence[ProbeReport]) -> Round:
    sent, lost = sum(report.sent for report in reports), sum(report.lost for report in reports)
    rtt = next((report.rtt_ms for report in reports if report.rtt_ms is not None), None)
    # A small one was lost, a large one was not: a loss, and no more.
    pairs = list(zip(requests, reports, strict=True))
    if all(max(request.sizes) in report.answered for request, report in pairs):
        return Round(at, Crossed.ALL, sent, lost, rtt)
    crossed = Crossed.SMALL if any(report.answered for report in reports) else Crossed.NOTHING
    return Round(at, crossed, sent, lost, rtt, _lacking(requests, reports))


def _lacking(requests: Sequence[ProbeRequest], reports: Sequence[ProbeReport]) -> Problem | None:
    """The first thing that did not cross; None: everything did."""
    silent = [request for request, report in zip(requests, reports, strict=True) if not report.answered]
    spoken = {request.target.version for request, report in zip(requests, reports, strict=True) if report.answered}
    for request in silent:
        if spoken and request.target.version not in spoken:
            return _family_missing(request)
    for request, report in zip(requests, reports, strict=True):
        if missing := set(request.sizes) - set(report.answered):
            return _unanswered(request, missing)
    return None


def _family_missing(request: ProbeRequest) -> Problem:
    family, other = ("IPv6", "IPv4") if request.target.version == 6 else ("IPv4", "IPv6")
    return Problem(
        FAMILY_NOT_CARRIED,
        f"probe: {family} must cross as {other} does ({request.target} must answer {request.source}"
        f" within {request.within:g} s)",
        f"see whether both networks route {family} to the border router, and whether the circuit carries its frames",
        fault=Fault.REMOTE,
    )


def _no_answer_to_host(target: Address) -> Problem:
    return Problem(
        "probe_unanswered",
        f"probe: {target} must answer the negotiator's host, as it did before",
        "see whether the circuit carries frames, and whether the host still has its route to the border router",
        fault=Fault.REMOTE,
    )


def _unanswered(request: ProbeRequest, missing: set[int]) -> Problem:
    sizes = ", ".join(str(size) for size in sorted(missing))
    if request.sizes[0] in missing:
        return Problem(
            "probe_unanswered",
            f"probe: {request.target} must answer {request.source} within {request.within:g} s",
            "see whether the circuit carries frames, and whether the address answers inside its own network",
            fault=Fault.REMOTE,
        )
    return Problem(
        MTU_NOT_CARRIED,
        f"probe: the circuit must carry packets of {sizes} octets, to {request.target}",
        "ask for a smaller mtu, or have the circuit's raised",
        fault=Fault.REMOTE,
    )
