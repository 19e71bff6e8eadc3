"""Who a configurator is to be: the certificates that the negotiator accepts from each."""

from __future__ import annotations

from meetme.model.errors import InvalidInput
from meetme.negotiator.settings import NegotiatorSettings
from meetme.runtime.grpc import Tls, in_the_clear
from meetme.runtime.identity import Identity, member_in, read_certificates


def router_tls(settings: NegotiatorSettings, identity: Identity) -> dict[str, Tls | None]:
    """How to speak with each configurator, by its name; None: in the clear, on this machine.

    One that has certificates of its own (they say its name) is expected to show one of them, wherever it is. Without,
    it runs under the member's identity. Raises NotFound `certificate_missing`, InvalidInput `certificate_malformed`,
    `certificate_of_nobody`.
    """
    pinned: dict[str, tuple[bytes, ...]] = {}
    for path in settings.configurator_certificates:
        for pem in read_certificates(path, field="configurator_certificates"):
            owner = member_in(pem)
            pinned[owner] = (*pinned.get(owner, ()), pem)
    names = {configurator.name for configurator in settings.configurator}
    for stranger in sorted(pinned.keys() - names):
        raise InvalidInput(
            "certificate_of_nobody",
            f'configurator_certificates: must be of the configurators ("{stranger}")',
            hint=f"configurators: {', '.join(sorted(names))}; meetme identity init --id NAME makes one for each",
            field="configurator_certificates",
        )
    found: dict[str, Tls | None] = {}
    for configurator in settings.configurator:
        name = configurator.name
        if name in pinned:
            found[name] = Tls(identity.key, identity.certificate, pinned[name], name=name)
        elif in_the_clear(configurator.target):
            found[name] = None
        else:
            found[name] = Tls(identity.key, identity.certificate, (identity.certificate,), name=identity.member)
    return found
