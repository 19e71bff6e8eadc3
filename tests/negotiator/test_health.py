"""When the data plane of an agreement is up, degraded or down."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.model.errors import Problem
from meetme.negotiator.health import TO_CLEAR, WINDOW, Course, Crossed, Round, turned
from meetme.negotiator.negotiation import Health, HealthState

SILENT = Problem("probe_unanswered", "nothing came back")
NARROW = Problem("mtu_not_carried", "1500 octets did not")
AWAY = Problem("configurator_unreachable", "nobody to ask")
KINDS = {
    ".": Round(0.0, Crossed.ALL, 2, 0, 10.0),
    ",": Round(0.0, Crossed.ALL, 3, 1, 10.0),
    "s": Round(0.0, Crossed.SMALL, 2, 1, 12.0, NARROW),
    "x": Round(0.0, Crossed.NOTHING, 2, 2, None, SILENT),
    "?": Round(0.0, Crossed.UNKNOWN, problem=AWAY),
}
"""`.` all answered, `,` so too but a packet was lost, `s` small ones alone, `x` nothing, `?` nobody to ask."""


def course(story: str, begin: Course | None = None) -> Course:
    """After these rounds, one each second."""
    now = begin or Course()
    for at, kind in enumerate(story):
        now = now.see(replace(KINDS[kind], at=float(at)))
    return now


def said(story: str) -> str:
    """State and reason after these rounds."""
    health = course(story).health
    return "-" if health is None else " ".join([health.state, health.reason.code if health.reason else ""]).strip()


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("", "-"),
        ("x", "-"),
        ("s", "-"),
        (".", "up"),
        ("..x", "up"),
        ("..xx", "up"),
        ("..xxx", "down probe_unanswered"),
        ("xxx", "down probe_unanswered"),
        ("..xxx..", "down probe_unanswered"),
        ("..xxx...", "up"),
        ("..xxx..x..", "down probe_unanswered"),
        ("..xx.x.xx.", "degraded packets_lost"),
        ("....................,...,", "up"),
        ("................,...,...,", "degraded packets_lost"),
        ("................,...,...," + "." * (TO_CLEAR - 1), "degraded packets_lost"),
        ("................,...,...," + "." * TO_CLEAR, "up"),
        ("..sss", "degraded mtu_not_carried"),
        ("..sss..", "degraded mtu_not_carried"),
        ("..sss...", "up"),
        ("..sssxxx", "down probe_unanswered"),
        ("..sssxxxsss", "degraded mtu_not_carried"),
        ("..sssxxx...", "up"),
        ("..xxxs.s", "degraded mtu_not_carried"),
        ("..xxxs.s.", "up"),
        ("..??", "up"),
        ("..???", "degraded configurator_unreachable"),
        ("..???.", "up"),
        ("..???x", "degraded probe_unanswered"),
        ("..???xxx", "down probe_unanswered"),
        ("..xxx???", "down probe_unanswered"),
        ("..xx??x", "down probe_unanswered"),
    ],
)
def test_the_state_follows_from_several_rounds(story: str, expected: str) -> None:
    assert said(story) == expected


def test_what_is_shown_is_of_the_window() -> None:
    slow = Course()
    for at, rtt in enumerate([10.0, 500.0, 11.0, 12.0]):
        slow = slow.see(Round(float(at), Crossed.ALL, 2, 0, rtt))
    assert slow.health == Health(HealthState.UP, 11.5, 0.0, datetime.fromtimestamp(0, UTC))
    down = course("..........xxx").health
    assert down == Health(HealthState.DOWN, None, 1.0, datetime.fromtimestamp(12, UTC), SILENT)
    back = course("..........xxxxx...").health
    assert back == Health(HealthState.UP, 10.0, 0.0, datetime.fromtimestamp(17, UTC)), "the outage is another story"
    assert len(course("." * 100).rounds) == WINDOW
    mtu = course(".....sss").health
    assert mtu is not None
    assert (mtu.rtt_ms, mtu.loss) == (12.0, 0.5)


@pytest.mark.parametrize("story", [".", "..xxx", "..sss", "................,...,...,", "..???"])
def test_another_process_goes_on_from_where_the_last_one_was(story: str) -> None:
    before = course(story).health
    assert before is not None
    for after in (".", "x"):
        resumed = course(after, Course.taken_up(before)).health
        assert resumed is not None
        if before.reason == AWAY:
            assert resumed.state is (HealthState.UP if after == "." else HealthState.DEGRADED)
        else:
            assert not turned(before, resumed)


def test_it_is_looked_at_sooner_while_in_doubt() -> None:
    assert Course().in_doubt
    for story, doubt in (
        (".", False),
        ("..x", True),
        ("..xxx", False),
        ("..xxx.", True),
        ("..s", True),
        ("..sss", False),
    ):
        assert course(story).in_doubt is doubt, story
    assert course("..sss.").in_doubt
    assert course("...?").in_doubt


def test_a_turn_is_another_state_or_another_reason() -> None:
    up, narrow, down = (course(story).health for story in (".", "..sss", "..xxx"))
    assert narrow is not None
    assert turned(None, up)
    assert turned(up, narrow)
    assert turned(narrow, down)
    assert turned(narrow, replace(narrow, reason=SILENT))
    assert not turned(narrow, replace(narrow, loss=0.9, rtt_ms=1.0))


# --- the same rules told in another way -------------------------------------------------------------------------------


def _latched(letters: str, bad: str, good: str) -> bool:
    """Three bad in a row were seen, and three good in a row not since."""
    return letters.rfind(bad * 3) > letters.rfind(good * 3)


def expected(story: str) -> str:
    """The state by what the whole story looks like as text, with neither windows nor latches; loss is left out."""
    known = story.replace("?", "")
    if _latched("".join("x" if c == "x" else "." for c in known), "x", "."):
        return "down"
    if story.endswith("???"):
        return "degraded"
    # What was before the last outage counts no more: from the first of the three rounds that ended it.
    heard = "".join("x" if c == "x" else "." for c in known)
    ends = [i for i in range(len(heard)) if not _latched(heard[: i + 1], "x", ".") and _latched(heard[:i], "x", ".")]
    since = known[ends[-1] - 2 :] if ends else known
    crossed = "".join(c if c == "s" else "." for c in since if c != "x")
    if _latched(crossed, "s", "."):
        return "degraded"
    return "good"


@settings(max_examples=400)
@given(st.text(alphabet=".sx?", max_size=40))
def test_down_and_narrow_are_what_the_story_says(story: str) -> None:
    now = course(story)
    wanted = expected(story)
    if now.down:
        got = "down"
    elif now.narrow or len(now.unseen) == 3:
        got = "degraded"
    else:
        got = "good"
    assert got == wanted
    health = now.health
    if wanted == "down":
        assert health is not None
        assert (health.state, health.rtt_ms) == (HealthState.DOWN, None)
    if wanted == "degraded":
        assert health is not None
        assert health.state is HealthState.DEGRADED
    if health is not None and health.state is HealthState.UP:
        assert wanted == "good"
        assert health.reason is None
    if health is not None and health.state is not HealthState.UP:
        assert health.reason is not None, "whatever is bad says why"


@settings(max_examples=200)
@given(st.text(alphabet=".,", min_size=1, max_size=80))
def test_loss_is_judged_over_the_window_and_forgiven_after_a_minute(story: str) -> None:
    lossy, begin = False, 0
    for now in range(1, len(story) + 1):
        window = story[max(begin, now - WINDOW) : now]
        lost, sent = window.count(","), 2 * len(window) + window.count(",")
        if lost >= 3 and lost * 20 >= sent:
            lossy = True
        if lossy and window.endswith("." * TO_CLEAR):
            lossy, begin = False, now - TO_CLEAR
    health = course(story).health
    assert health is not None
    assert (health.state is HealthState.DEGRADED) is lossy
    window = story[max(begin, len(story) - WINDOW) :]
    assert health.loss == pytest.approx(window.count(",") / (2 * len(window) + window.count(",")))


@given(st.text(alphabet=".,sx?", max_size=60))
def test_nobody_is_told_of_an_outage_more_often_than_every_third_round(story: str) -> None:
    now, turns = Course(), [-3]
    for at, kind in enumerate(story.replace("?", "")):
        after = now.see(replace(KINDS[kind], at=float(at)))
        if after.down is not now.down:
            turns.append(at)
        now = after
    assert all(later - earlier >= 3 for earlier, later in pairwise(turns))
