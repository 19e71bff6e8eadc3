"""Two members whose catalog servers are processes: csp-a buys, csp-b offers a page, which needs no connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from meetme.catalog.client import CatalogClient
from meetme.model.agreement import MemberId
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.identity import create_identity, save_identity
from meetme.runtime.roster import write_roster
from meetme.runtime.tokens import create_token_file
from tests.composer.serving import Process, free_port

PAGE = """
[[offer]]
name = "page"
title = "A page"
category = "web"
connectivity = "none"
approval = {approval}
instructions = "https://b.example"
"""


@dataclass(frozen=True)
class Replica:
    """One process of a member's catalog, and who asks it."""

    process: Process
    client: CatalogClient


@asynccontextmanager
async def catalogs(
    tmp_path: Path,
    *,
    approval: bool,
    replicas: Mapping[str, int] | None = None,
    databases: Mapping[str, str] | None = None,
) -> AsyncIterator[dict[str, list[Replica]]]:
    """Both members, once csp-a knows the offer. `replicas`: how many each has, behind one address; `databases`: by
    member, if not a file of its own.
    """
    names = ("csp-a", "csp-b")
    identities = {name: create_identity(name) for name in names}
    peers = {name: [free_port() for _ in range((replicas or {}).get(name, 1))] for name in names}
    async with AsyncExitStack() as stack:
        doors = {name: await stack.enter_async_context(one_address(ports)) for name, ports in peers.items()}
        roster = Roster(
            tuple(
                Member(
                    MemberId(name), MemberKind.CSP, (each.pin,), (each.certificate,),
                    urls=ServiceUrls(catalog=f"https://127.0.0.1:{doors[name]}"),
                )
                for name, each in identities.items()
            )
        )  # fmt: skip
        found: dict[str, list[Replica]] = {}
        for name, identity in identities.items():
            database = (databases or {}).get(name, f"sqlite:///{tmp_path}/{name}.db")
            for number, port in enumerate(peers[name]):
                folder, local = tmp_path / f"{name}-{number}", free_port()
                folder.mkdir()
                save_identity(identity, key=folder / "key.pem", certificate=folder / "certificate.pem")
                token = create_token_file(folder / "token")
                write_roster(folder / "roster.toml", roster)
                offers = PAGE.format(approval=str(approval).lower()) if name == "csp-b" else ""
                (folder / "offers.toml").write_text(offers)
                (folder / "meetme.toml").write_text(
                    f'[catalog]\ndatabase = "{database}"\noffers = "{folder}/offers.toml"\ninterval = 0.2\n'
                    f'listen = "127.0.0.1:{local}"\nlisten_peers = "127.0.0.1:{port}"\n'
                )
                process = Process(folder, ("catalog",), local)
                stack.push_async_callback(process.kill)
                client = CatalogClient(f"http://127.0.0.1:{local}", token)
                stack.push_async_callback(client.close)
                found.setdefault(name, []).append(Replica(process, client))
        await asyncio.gather(*(each.process.start() for replicas in found.values() for each in replicas))
        async with asyncio.timeout(30):
            for each in found["csp-a"]:
                while not (await each.client.search())[1]:  # noqa: ASYNC110 - it is in a database
                    await asyncio.sleep(0.05)
        yield found


@asynccontextmanager
async def one_address(ports: Sequence[int]) -> AsyncIterator[int]:
    """A port of its own that leads to the first of `ports` where somebody listens."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            for port in ports:
                try:
                    there, back = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    continue
                ends.append(back)
                both = [asyncio.ensure_future(_pipe(*way)) for way in ((reader, back), (there, writer))]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in both:
                        each.cancel()
                    await asyncio.gather(*both, return_exceptions=True)
                return
        finally:
            for end in ends:
                end.close()

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
