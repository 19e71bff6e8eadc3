"""Segments at the exchange that no circuit knows: found, named, left alone, taken away by a person."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from meetme.composer import store
from meetme.composer.strays import circuit_of
from meetme.composer.words import State, reference
from meetme.ixapi.orders import OrderEnd, SegmentOrder
from meetme.model.errors import NotFound

from .federation import Ixp, chain, federation, order


def forget(ixp: Ixp, circuit: UUID) -> None:
    """The database is lost, as far as this circuit goes."""
    ixp.database.run_now(lambda tx: tx.execute(store.CIRCUIT.delete().where(store.CIRCUIT.c.id == str(circuit))))
    ixp.database.run_now(lambda tx: tx.execute(store.CLAIM.delete().where(store.CLAIM.c.circuit == str(circuit))))


def figure(ixp: Ixp) -> float | None:
    return ixp.service.registry.get_sample_value("meetme_circuit_stray_segments")


async def test_a_circuit_of_one_exchange_whose_record_is_lost_is_found_and_taken_away_by_a_person() -> None:
    async with federation(chain("ixp-1")) as fed:
        ixp = fed["ixp-1"]
        lost = await ixp.client.create(order("csp-a/a1", "csp-b/b1"))
        kept = await ixp.client.create(order("csp-a/a1", "csp-b/b1"))
        for each in (lost, kept):
            assert (await ixp.until(each.id, State.ACTIVE)).state is State.ACTIVE
        assert await ixp.client.strays() == []
        await ixp.restart()
        forget(ixp, lost.id)
        await ixp.restart()
        async with asyncio.timeout(10):
            while not figure(ixp):  # noqa: ASYNC110 - it is told of the first look after the start
                await asyncio.sleep(0.02)
        (stray,) = await ixp.client.strays()
        assert (stray.circuit, stray.state) == (lost.id, "unknown")
        told = {each.what: each for each in (await ixp.client.diagnosis()).findings}[f"stray {stray.reference}"]
        assert (told.ok, told.needed) == (False, False)
        assert f"meetme circuit strays --remove {stray.reference}" in told.hint
        assert len(ixp.exchange.segments) == 2, "it is left alone"
        (other,) = [each for each in ixp.exchange.segments if each != stray.reference]
        with pytest.raises(NotFound) as refused:
            await ixp.client.remove_stray(other)
        assert refused.value.code == "stray_unknown"
        assert await ixp.client.remove_stray(stray.reference)
        assert set(ixp.exchange.segments) == {other}
        assert await ixp.client.strays() == []
        assert figure(ixp) == 0


async def test_what_else_the_account_has_is_not_ours_to_judge(tmp_path: Path) -> None:
    async with federation(chain("ixp-1")) as fed:
        ixp, id = fed["ixp-1"], uuid4()
        for name in ("by-hand", f"{id}", f"{id}#x@0", reference(id, 1, 2)):
            await ixp.exchange.build(SegmentOrder(name, OrderEnd("p1"), OrderEnd("p2"), 10))
        assert [each.reference for each in await ixp.client.strays()] == [reference(id, 1, 2)]
        with pytest.raises(NotFound):
            await ixp.client.remove_stray("by-hand")
        assert "by-hand" in ixp.exchange.segments


def test_a_reference_names_its_circuit() -> None:
    id = uuid4()
    assert circuit_of(reference(id, 1, 3)) == id
    assert [circuit_of(each) for each in ("", "x#1@2", f"{id}#1", f"{id}#@", f"{id.hex}#1@2")] == [None] * 5
