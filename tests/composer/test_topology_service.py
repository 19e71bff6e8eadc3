"""What whole composers know of each other: over their local API, and as circuits take what is free."""

from __future__ import annotations

import pytest

from meetme.composer.client import ComposerClient
from meetme.composer.spreader import HANDLE_PATH
from meetme.composer.views import CircuitOrder, EndBody
from meetme.composer.words import State
from meetme.model.errors import Unauthenticated
from tests.composer.federation import federation, triangle
from tests.composer.spreaders import until


async def test_what_a_circuit_takes_is_told_to_all_and_what_it_gives_back_too() -> None:
    async with federation(triangle(interval=0.5)) as all_of_them:
        one, other = all_of_them["ixp-1"], all_of_them["ixp-2"]
        shown = await other.client.topology()
        assert [each.member for each in shown.exchanges] == ["ixp-1", "ixp-2", "ixp-3"]
        assert len(shown.links) == 3
        assert shown.unconfirmed == ()
        whole = {link.link: link.bandwidth for link in shown.links}
        order = CircuitOrder(EndBody("csp-a", "a1"), EndBody("csp-b", "b1"), min(whole.values()) // 2)
        circuit = await one.client.create(order)
        circuit = await one.until(circuit.id, State.ACTIVE)
        assert circuit.state is State.ACTIVE

        def told() -> dict[str, int]:
            return {nni.name: nni.bandwidth for nni in other.service.spreader.atlas().links[0]}

        await until(lambda: sum(each < whole[name] for name, each in told().items()) == 1)
        await one.client.delete(circuit.id)
        await until(lambda: told() == whole)


async def test_the_map_is_for_who_has_a_token_and_advertisements_for_exchanges() -> None:
    async with federation(triangle()) as all_of_them:
        stranger = ComposerClient(all_of_them["ixp-1"].service.local_url, "no token")
        with pytest.raises(Unauthenticated):
            await stranger.topology()
        await stranger.close()
        answer = await all_of_them.as_member("csp-a", "ixp-1", "POST", HANDLE_PATH, {})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:meetme:problem:not_an_exchange")
