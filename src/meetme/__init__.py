"""MeetMe: order a service from another provider's catalogue; a second later your network reaches it.

Two members of a federation are joined by a pure layer-2 circuit. Their *negotiators* agree on addresses
(`negotiator`), a *configurator* at each border router programs what was agreed (`configurator`, `drivers`), packets
cross, and all of it can be taken back. `lab` builds whole federations from network namespaces, `cli` is the hands.

Decisions are pure functions on frozen values; what touches the outside lives in `runtime`, in the files named
`service`, `client`, `store`, `device` and `host`, and in `cli`. Imports run one way: see `pyproject.toml`.
"""

__version__ = "0.3.0"
