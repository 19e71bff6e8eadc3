"""What a member lets a peer do (thesis 7.1, security and privacy). Every refusal names the rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meetme.model.addresses import Prefix, within
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy


def policy_problems(
    policy: MemberPolicy, *, prefixes: Iterable[Prefix], order: str | None, agreements: int, field: str
) -> Iterator[Problem]:
    """Every rule of `policy` that an offer of `prefixes` breaks. `agreements` are those the peer has already."""
    yield from announce_problems(policy, prefixes, field)
    if policy.order_required and order is None:
        yield Problem("policy_order", "order: policy requires an approved order", "start from the catalogue", "order")
    if policy.max_agreements is not None and agreements >= policy.max_agreements:
        yield Problem(
            "policy_max_agreements",
            f"peer: policy allows {policy.max_agreements} agreements with this peer ({agreements} exist)",
            "terminate one, or raise the limit",
            "peer",
        )


def announce_problems(policy: MemberPolicy, prefixes: Iterable[Prefix], field: str) -> Iterator[Problem]:
    """Every prefix that `policy` does not let its peer announce."""
    for index, prefix in enumerate(prefixes):
        if prefix.prefixlen == 0:
            yield Problem(
                "policy_default_route",
                f"{field}[{index}]: a default route is never accepted ({prefix})",
                "announce the prefixes that are to be reached",
                field,
            )
        elif policy.announce and not any(within(prefix, allowed) for allowed in policy.announce):
            allowed_text = ", ".join(str(p) for p in policy.announce)
            yield Problem(
                "policy_prefix",
                f"{field}[{index}]: policy does not let this peer announce {prefix}",
                f"allowed: {allowed_text}",
                field,
            )


def rate_problem(policy: MemberPolicy, begun: int, wait: float) -> Problem | None:
    """The rule that a peer breaks by beginning another negotiation, having `begun` so many within the last minute.

    `wait`: seconds until the oldest of them no longer counts.
    """
    if policy.proposals_per_minute is None or begun < policy.proposals_per_minute:
        return None
    return Problem(
        "policy_rate",
        f"peer: policy allows {policy.proposals_per_minute} proposals a minute from this peer ({begun} were made)",
        f"try again in {max(1, round(wait))} s" if policy.proposals_per_minute else "ask its operator",
        "peer",
    )
