"""One negotiation through four processes: its id is in every log, every step is there, and no secret."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import Running, running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    with running(tmp_path_factory.mktemp("members"), "--log-level", "debug") as members:
        yield members


@pytest.fixture(scope="module")
def course(up: list[Running]) -> str:
    """The id of a negotiation that has been there and back."""
    a, b = up
    view = a.member.json("negotiate", "csp-b")
    assert view["state"] == "active", view
    assert b.member.json("show", view["id"])["state"] in ("active", "confirming", "committed")
    a.member.run("terminate", view["id"])
    return str(view["id"])


def test_every_step_carries_the_id_of_the_negotiation(up: list[Running], course: str) -> None:
    for each in up:
        told = [line for line in each.negotiator.lines() if line.get("negotiation") == course]
        steps = {line["step"] for line in told if line["event"] == "step"}
        view = each.member.json("show", course)
        assert steps == {step["name"] for step in view["steps"]}
        assert steps >= {"propose" if view["role"] == "initiator" else "held", "configure", "probe", "active"}
        states = [line["after"] for line in told if line["event"] == "state"]
        assert states[-1] == "terminated"
        assert "active" in states
        types = {line["type"] for line in told if line["event"] in ("message sent", "message received")}
        assert types >= {"propose", "commit", "confirm", "terminate"}
        obeyed = [line for line in each.configurator.lines() if line.get("negotiation") == course]
        kinds = [line.get("event_kind", line["event"]) for line in obeyed]
        assert kinds[0] == "state"
        assert kinds[-1] == "removed"
        assert "probe" in kinds
        assert not [line for line in obeyed if "traceparent" in line], "nobody has asked for traces"
        details = [line.get("detail") for line in obeyed if line.get("event_kind") == "state"]
        assert details == ["tentative", "confirmed"]


def test_nobody_else_s_id_is_in_a_line_about_a_link(up: list[Running], course: str) -> None:
    for each in up:
        about = [line for line in each.configurator.lines() if line["event"] in ("link", "probe")]
        assert about
        assert {line["negotiation"] for line in about} == {course}


def test_no_log_has_a_secret(up: list[Running], course: str) -> None:
    assert course
    for each in up:
        folder = each.member.folder
        secrets = [(folder / "token").read_text().strip(), *(folder / "key.pem").read_text().splitlines()[1:-1]]
        for log in (each.negotiator.log, each.configurator.log):
            text = log.read_text()
            assert len(text.splitlines()) >= 5
            assert not [secret for secret in secrets if secret in text]
            assert "PRIVATE" not in text
            assert not re.search(r"bearer", text, re.IGNORECASE)


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_a_request_is_called_what_its_sender_calls_it(up: list[Running], course: str) -> None:
    a, _ = up
    url = f"http://127.0.0.1:{a.member.local}/api/v1/negotiations"
    status, headers, body = ask(url, x_request_id="ticket-4711")
    assert (status, headers["x-request-id"]) == (401, "ticket-4711")
    assert json.loads(body)["instance"] == "urn:meetme:request:ticket-4711"
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    _, headers, _ = ask(url, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert headers["x-request-id"] == trace
    for wrong in ("a b", "x" * 65, 'a"b', ""):
        _, headers, _ = ask(url, x_request_id=wrong)
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    seen = {line["request"] for line in a.negotiator.lines() if line["event"] == "request"}
    assert {"ticket-4711", trace} <= seen
    assert len(seen) > 5, "who has no name gets one"


def test_figures_of_both_services(up: list[Running], course: str) -> None:
    a, _ = up
    negotiator = figures(a.member.negotiator_metrics)
    assert negotiator['meetme_effects_total{kind="program",result="done"}'] >= 3
    assert negotiator['meetme_peer_messages_total{direction="sent",result="answered",type="commit"}'] == 1
    assert negotiator['meetme_negotiation_states_total{state="active"}'] == 1
    assert negotiator["meetme_database_transaction_seconds_count"] > 10
    assert negotiator['meetme_peer_answered_timestamp_seconds{peer="csp-b"}'] > 1e9
    assert negotiator['meetme_configurator_reached_timestamp_seconds{router="r1"}'] > 1e9
    assert negotiator['meetme_certificate_expires_timestamp_seconds{member="csp-b"}'] > 1e9
    assert negotiator['meetme_effects_failing{kind="send"}'] == 0
    configurator = figures(a.member.configurator_metrics)
    for order in ("apply", "confirm", "remove", "probe"):
        times = configurator[f'meetme_configurator_orders_total{{order="{order}",result="done"}}']
        assert times == 1 or (order == "probe" and times > 1), "an active link is looked at again and again"
        timed = configurator[f'meetme_configurator_order_seconds_count{{order="{order}"}}']
        assert timed == times or (order == "probe" and timed > times), "a probe may end between two figures"
    assert configurator['meetme_configurator_link_events_total{event="removed"}'] == 1
    assert configurator['meetme_configurator_links{in_sync="true",state="confirmed"}'] == 0
    for page, service in ((negotiator, "negotiator"), (configurator, "configurator")):
        (built,) = [key for key in page if key.startswith("meetme_build_info")]
        assert f'service="{service}"' in built
        ids = [key for key in page if course in key]
        assert not ids, "an id is no label"


def figures(port: int) -> dict[str, float]:
    status, _, body = ask(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
    return {key: float(value) for key, value in lines}


def test_who_asks_for_json_gets_nothing_else(tmp_path: Path, up: list[Running]) -> None:
    """Neither while it runs nor when it cannot start, and every missing setting is named."""
    for each in up:
        assert all("timestamp" in line for line in (*each.negotiator.lines(), *each.configurator.lines()))
    member = up[0].member
    bare = tmp_path / "bare.toml"
    bare.write_text("[negotiator]\n")
    served = type(member)("csp-a", tmp_path, 1)
    served.folder.joinpath("meetme.toml").write_text("")
    process = served.serve("negotiator")
    assert process.process.wait(30) == 2
    named = {line["field"] for line in process.lines()}
    mandatory = {"border_router_port", "local_subnet", "private_networks", "negotiated_networks", "configurator"}
    assert named == mandatory
