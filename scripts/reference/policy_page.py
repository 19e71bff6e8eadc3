"""What a peer may do: every rule, its flag, and the refusal that names it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import problems_page
import settings_page
from markdown import table

from meetme.cli.peer import policy_
from meetme.model.members import MemberPolicy

REFUSED = {
    "announce": "policy_prefix",
    "order_required": "policy_order",
    "max_agreements": "policy_max_agreements",
    "proposals_per_minute": "policy_rate",
    "count_summaries": "",
}
"""The code with which each rule refuses; empty: it refuses nothing, it changes what overlaps."""
ALWAYS = {
    "policy_default_route": "a default route is never accepted",
    "prefixes_overlap": "nothing that overlaps goes untranslated, whoever asks for it",
    "prefix_contains_control_plane": "a prefix around our control plane is carried under an alias or not at all",
    "attachment_of_another": "a circuit that is registered for one peer is negotiated by no other",
    "circuit_of_others": "the direct circuit of two members is theirs",
    "port_in_use": "a port carries one agreement",
    "sender_mismatch": "a message speaks for the member of its certificate",
    "not_a_party": "a negotiation belongs to two",
}
_INTRODUCTION = """# Policy

What a peer may do with us. It stands in `roster.toml`, in the member's table `[member.policy]`, and is shown and
changed with `meetme peer policy MEMBER`; a running negotiator notices at once. It is asked again wherever a peer's
prefix could come in: at the peer's proposal, at its answer to ours, and at every change of an agreement. Agreements
that are in force stay as they are until they are changed or terminated.

```toml
[[member]]
id = "csp-b"
[member.policy]
announce = ["10.8.0.0/16", "fd08::/32"]
order_required = true
max_agreements = 4
proposals_per_minute = 6
```

A refusal names its rule by its code, to both sides; every rule that is broken is named at once. What a rule does not
allow reaches no router: neither a proposal, nor a counter-offer, nor anything else that a peer can say leads around it.
"""


def page(source: Path) -> str:
    """The page of the policies. Raises LookupError for a rule or a code that nobody knows."""
    flags = {option.name: "/".join((*option.opts, *option.secondary_opts)) for option in policy_.params}
    meanings, hints = settings_page.meanings(MemberPolicy), get_type_hints(MemberPolicy)
    rows = [
        (
            f"`{rule.name}`",
            f"`{flags[rule.name]}`",
            settings_page.type_name(hints[rule.name]),
            meanings[rule.name],
            f"`{REFUSED[rule.name]}`" if REFUSED[rule.name] else "-",
        )
        for rule in fields(MemberPolicy)
    ]
    codes = problems_page.codes(source)
    if unknown := (ALWAYS.keys() | set(REFUSED.values()) - {""}) - codes:
        raise LookupError(f"no such code: {', '.join(sorted(unknown))}")
    return "\n".join(
        [
            _INTRODUCTION,
            "## Rules of one peer",
            "",
            *table(("rule", "flag", "type", "meaning", "refused with"), rows),
            "## Rules that always hold",
            "",
            *table(("code", "rule"), [(f"`{code}`", rule) for code, rule in ALWAYS.items()]),
            "The texts are on the page of the [problems](problems.md).",
            "",
        ]
    )
