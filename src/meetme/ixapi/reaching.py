"""How each switch's configurator is reached, by what the settings say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from meetme.configurator.client import open_configurator
from meetme.ixapi.settings import IxApiSettings, SwitchSetting
from meetme.ixapi.switches import Opener, SwitchControl
from meetme.model.errors import InvalidInput
from meetme.runtime.grpc import Tls, in_the_clear
from meetme.runtime.identity import Identity, member_in, read_certificates


def openers_of(settings: IxApiSettings, identity: Identity | None) -> Mapping[str, Opener]:
    """How to reach each switch, by name.

    Raises InvalidInput `tls_required`, `certificate_malformed`, NotFound `certificate_missing`.
    """
    return {each.name: _opener(each.configurator, _tls(each, identity)) for each in settings.switch}


def _tls(switch: SwitchSetting, identity: Identity | None) -> Tls | None:
    """How to speak with a switch's configurator; None: in the clear, on this machine."""
    if in_the_clear(switch.configurator) and switch.certificate is None:
        return None
    if identity is None:
        raise InvalidInput(
            "tls_required",
            f"switch.configurator: must be on this machine, where there is no identity ('{switch.configurator}')",
            hint="meetme identity init makes one",
            field="switch",
        )
    if switch.certificate is None:
        return Tls(identity.key, identity.certificate, (identity.certificate,), name=identity.member)
    pinned = read_certificates(switch.certificate, field="switch.certificate")
    return Tls(identity.key, identity.certificate, pinned, name=member_in(pinned[0]))


def _opener(target: str, tls: Tls | None) -> Opener:
    async def connect() -> SwitchControl:
        return cast(SwitchControl, await open_configurator(target, tls))

    return connect
