"""Which circuit a negotiation is about, and where it lands on this side."""

from __future__ import annotations

from uuid import UUID

from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, InvalidInput, NotFound, Refused
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.settings import NegotiatorSettings

DIRECT = "direct:"


def direct_circuit(a: MemberId, b: MemberId) -> str:
    """The name of the circuit between two members that have given it none."""
    return f"{DIRECT}{min(a, b)}:{max(a, b)}"


def land(
    settings: NegotiatorSettings,
    circuit: str,
    members: tuple[MemberId, MemberId],
    registered: Attachment | None,
    port: str | None = None,
) -> Attachment:
    """The port at which a circuit between `members` ends here: as registered, else as asked for, else the default.

    Raises NotFound `attachment_unknown`, Refused `attachment_of_another`, InvalidInput `circuit_of_others`,
    `router_unknown`, `port_differs`.
    """
    direct = circuit.startswith(DIRECT)
    if direct and circuit != direct_circuit(*members):
        raise InvalidInput(
            "circuit_of_others",
            f'circuit: must be {direct_circuit(*members)}, or one with an attachment ("{circuit}")',
            hint="leave it out for the direct link",
            field="circuit",
        )
    if registered is not None and registered.peer is not None and registered.peer not in members:
        raise Refused(
            "attachment_of_another",
            f'circuit: must be one that leads to this peer ("{circuit}")',
            hint="name the circuit that both have ordered together, or register another attachment",
            field="circuit",
        )
    asked = settings.attachment(port) if port is not None else None
    if port is not None and asked is None:
        raise InvalidInput(
            "router_unknown",
            f'port: must be PORT, or ROUTER/PORT of a configurator ("{port}")',
            hint=f"configurators: {', '.join(c.name for c in settings.configurator)}",
            field="port",
        )
    if registered is not None:
        if asked is not None and (asked.router, asked.port) != (registered.router, registered.port):
            raise InvalidInput(
                "port_differs",
                f'port: must be where circuit "{circuit}" lands, {registered.router}/{registered.port} ("{port}")',
                hint="leave it out, or register another attachment",
                field="port",
            )
        return registered
    found = asked or (settings.attachment() if direct else None)
    if found is None:
        raise attachment_unknown(circuit)
    return found


def attachment_unknown(circuit: str) -> NotFound:
    """The error for a circuit of which nobody has said where it lands."""
    return NotFound(
        "attachment_unknown",
        f'circuit: must have an attachment ("{circuit}")',
        hint=f"PUT /api/v1/attachments/{circuit} registers where it lands; then try again",
        field="circuit",
    )


def port_in_use(attachment: Attachment, holder: UUID) -> Conflict:
    """The error for a port that another negotiation has."""
    return Conflict(
        "port_in_use",
        f'port: must be free ("{attachment.router}/{attachment.port}", negotiation {holder} has it)',
        hint=f"terminate that one first (meetme show {holder}), or name another port",
        field="port",
        existing=str(holder),
    )
