"""Alerts: reported once when new, worse or over, then once a day, never while muted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest

from factory_lib.clock import local_time
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts
from factory_lib.monitoring.alerts import Event, Severity
from factory_lib.runs.records import RunRecord
from factory_lib.settings import load
from factory_lib.state import limiter, open_state
from factory_lib.state.marks import DRIFT, LATEST_SLOT, get_mark, set_mark

HOUR = timedelta(hours=1)
WARNING = Event("gap", "spot_eur_mwh", Severity.WARNING, "8 slots missing")
CRITICAL = Event("gap", "spot_eur_mwh", Severity.CRITICAL, "80 slots missing")


def news_of(ctx: RunContext, at: datetime) -> list[str]:
    return [line["news"] for line in alerts.deliver(ctx.state, ctx.settings, at)]


@pytest.fixture
def now(ctx: RunContext) -> datetime:
    return ctx.clock.now()


def test_a_fault_is_reported_once_and_again_in_the_digest_of_the_next_morning(
    ctx: RunContext, now: datetime
) -> None:
    # the clock stands at noon in Madrid, the digest is due at seven
    for hours, news in ((0, ["opened"]), (1, []), (18.9, []), (19, ["still open"]), (20, [])):
        alerts.raise_event(ctx.state, WARNING, now + hours * HOUR)
        assert news_of(ctx, now + hours * HOUR) == news
    assert alerts.alert_rows(ctx.state)[0]["count"] == 5


def test_what_gets_worse_is_reported_at_once(ctx: RunContext, now: datetime) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    news_of(ctx, now)
    alerts.raise_event(ctx.state, CRITICAL, now)
    assert news_of(ctx, now) == ["escalated"]


def test_an_end_is_reported_once_and_a_relapse_opens_anew(ctx: RunContext, now: datetime) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    news_of(ctx, now)
    alerts.resolve(ctx.state, "gap", "spot_eur_mwh", "filled", now + HOUR)
    assert (news_of(ctx, now + HOUR), news_of(ctx, now + 2 * HOUR)) == (["resolved"], [])
    assert alerts.alert_rows(ctx.state) == []
    alerts.raise_event(ctx.state, WARNING, now + 3 * HOUR)
    assert news_of(ctx, now + 3 * HOUR) == ["opened"]
    assert alerts.alert_rows(ctx.state)[0]["count"] == 1


def test_what_is_over_before_it_was_reported_stays_unreported(
    ctx: RunContext, now: datetime
) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    alerts.resolve(ctx.state, "gap", "spot_eur_mwh", "filled", now)
    assert news_of(ctx, now) == []


def test_an_acknowledged_alert_is_silent_until_it_gets_worse(
    ctx: RunContext, now: datetime
) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    news_of(ctx, now)
    assert alerts.acknowledge(ctx.state, "gap/*", "Ana", now) == 1
    alerts.raise_event(ctx.state, WARNING, now + 9 * HOUR)
    assert news_of(ctx, now + 30 * HOUR) == []
    alerts.raise_event(ctx.state, CRITICAL, now + 31 * HOUR)
    assert news_of(ctx, now + 31 * HOUR) == ["escalated"]
    (worse,) = alerts.alert_rows(ctx.state)
    assert (worse["status"], worse["by"]) == ("open", ""), (
        "the acknowledgement was for the warning only"
    )


def test_what_gets_better_is_reported_only_when_it_is_as_bad_again(
    ctx: RunContext, now: datetime
) -> None:
    for event, news in (
        (CRITICAL, ["opened"]),
        (WARNING, []),
        (CRITICAL, ["escalated"]),
        (CRITICAL, []),
    ):
        alerts.raise_event(ctx.state, event, now)
        assert news_of(ctx, now) == news
    alerts.acknowledge(ctx.state, "gap/*", "Ana", now)
    for event, news in ((WARNING, []), (CRITICAL, ["escalated"])):
        alerts.raise_event(ctx.state, event, now)
        assert news_of(ctx, now) == news


def test_a_warning_not_acknowledged_for_a_day_becomes_critical(
    ctx: RunContext, now: datetime
) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    news_of(ctx, now)
    assert news_of(ctx, now + 24 * HOUR) == ["escalated"]
    assert alerts.alert_rows(ctx.state)[0]["severity"] == "critical"


def test_a_plans_warning_stays_one_until_a_plan_makes_it_worse(
    ctx: RunContext, now: datetime
) -> None:
    poor = alerts.Event("plan", "2026-03-02 index", alerts.Severity.WARNING, "Poor.")
    alerts.raise_event(ctx.state, poor, now)
    news_of(ctx, now)
    news_of(ctx, now + 72 * HOUR)
    assert alerts.alert_rows(ctx.state)[0]["severity"] == "warning"


def test_a_muted_alert_is_reported_when_the_silence_ends(ctx: RunContext, now: datetime) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    alerts.mute(ctx.state, "gap/spot*", now + 2 * HOUR)
    assert (news_of(ctx, now + HOUR), news_of(ctx, now + 2 * HOUR)) == ([], ["opened"])


@pytest.mark.parametrize("pattern", ["gap/pvpc*", "job/*", ""], ids=["entity", "topic", "nothing"])
def test_a_name_that_matches_nothing_is_an_error(
    ctx: RunContext, now: datetime, pattern: str
) -> None:
    alerts.raise_event(ctx.state, WARNING, now)
    with pytest.raises(BadInput, match="No alert matches"):
        alerts.acknowledge(ctx.state, pattern, "Ana", now)


def test_reconciling_a_topic_ends_the_alerts_that_are_not_named(
    ctx: RunContext, now: datetime
) -> None:
    other = Event("gap", "pvpc_eur_mwh", Severity.WARNING, "4 slots missing")
    elsewhere = Event("job", "ingest", Severity.WARNING, "failed")
    for event in (WARNING, other, elsewhere):
        alerts.raise_event(ctx.state, event, now)
    alerts.reconcile(ctx.state, "gap", [other], now)
    assert {row["entity"] for row in alerts.alert_rows(ctx.state)} == {"pvpc_eur_mwh", "ingest"}


def test_the_channels_hold_one_line_each_without_secrets(
    ctx: RunContext, now: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    object.__setattr__(
        ctx.settings.secrets,
        "esios_token",
        type(ctx.settings.secrets.esios_token)("planted-5512"),
    )
    alerts.raise_event(
        ctx.state, Event("job", "ingest", Severity.WARNING, "planted-5512 refused"), now
    )
    alerts.deliver(ctx.state, ctx.settings, now)
    text = (ctx.settings.paths.data / "alerts.jsonl").read_text(encoding="utf-8")
    line = json.loads(text)
    assert (line["news"], line["topic"], line["severity"]) == ("opened", "job", "warning")
    assert line["entities"] == {"ingest": "*** refused"}
    assert capsys.readouterr().err == "ALERT warning job/ingest opened: *** refused\n"
    assert "planted" not in text


def test_a_topic_is_one_line_and_equal_messages_stand_once(
    ctx: RunContext, now: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, slots in (("humidity_pct", 24), ("spot_eur_mwh", 96), ("temperature_c", 24)):
        alerts.raise_event(
            ctx.state, Event("gap", name, Severity.CRITICAL, f"{slots} slots missing."), now
        )
    alerts.raise_event(
        ctx.state, Event("gap", "pvpc_eur_mwh", Severity.WARNING, "4 slots missing."), now
    )
    alerts.deliver(ctx.state, ctx.settings, now)
    assert capsys.readouterr().err.splitlines() == [
        "ALERT critical gap opened (3): humidity_pct, temperature_c: 24 slots missing. "
        "spot_eur_mwh: 96 slots missing.",
        "ALERT warning gap/pvpc_eur_mwh opened: 4 slots missing.",
    ]


def record(status: str) -> RunRecord:
    error = "no such price"
    return RunRecord("ingest", "live", "01_ingest", status, "", "", 1, {}, error=error)


def test_a_failed_job_and_an_open_circuit_raise_and_end(ctx: RunContext, now: datetime) -> None:
    for _ in range(5):
        limiter.record_failure(ctx.state.hosts, "ree", now, ctx.settings.breaker, "503")
    alerts.after_run(ctx.state, ctx.settings, record("failed"), now)
    messages = {
        (row["topic"], row["entity"]): row["message"] for row in alerts.alert_rows(ctx.state)
    }
    assert messages.keys() == {("job", "ingest"), ("circuit", "ree")}
    assert messages["job", "ingest"] == "failed: no such price"
    until = local_time(now + timedelta(seconds=300))
    assert messages["circuit", "ree"].startswith(
        f"5 failures in a row, the last one HTTP 503; not asked until {until}"
    )
    limiter.record_success(ctx.state.hosts, "ree")
    alerts.after_run(ctx.state, ctx.settings, record("ok"), now)
    assert alerts.alert_rows(ctx.state) == []


def test_a_profile_that_uses_no_host_has_no_alert_of_one(ctx: RunContext, now: datetime) -> None:
    home = str(ctx.settings.paths.hosts.parents[1])
    history = load("history", env={"FACTORY_HOME": home})
    for _ in range(5):
        limiter.record_failure(ctx.state.hosts, "ree", now, ctx.settings.breaker, "503")
    with open_state(history) as state:
        assert limiter.open_hosts(state.hosts, history.breaker).keys() == {"ree"}
        alerts.after_run(state, history, record("ok"), now)
        assert alerts.alert_rows(state) == []


GAPS = pd.DataFrame(
    [
        ("spot_eur_mwh", 2, 0.5, "minor", "missing"),
        ("pvpc_eur_mwh", 3, 3.0, "moderate", "missing"),
        ("pvpc_eur_mwh", 60, 60.0, "critical", "missing"),
        ("temperature_c", 99, 99.0, "critical", "unfillable"),
    ],
    columns=["series", "slots", "duration_h", "severity", "state"],
)


@pytest.fixture
def some_data(ctx: RunContext) -> None:
    set_mark(ctx.state, LATEST_SLOT, "spot_eur_mwh", ctx.as_of)


def test_an_empty_store_is_one_line(ctx: RunContext) -> None:
    alerts.after_gaps(ctx, GAPS)
    (row,) = alerts.alert_rows(ctx.state)
    assert (row["entity"], row["severity"]) == ("all series", "warning")
    assert "no data yet" in row["message"]
    set_mark(ctx.state, LATEST_SLOT, "spot_eur_mwh", ctx.as_of)
    alerts.after_gaps(ctx, GAPS)
    assert [row["entity"] for row in alerts.alert_rows(ctx.state)] == ["pvpc_eur_mwh"]


@pytest.mark.usefixtures("some_data")
def test_only_moderate_and_critical_missing_gaps_alert(ctx: RunContext) -> None:
    alerts.after_gaps(ctx, GAPS)
    (row,) = alerts.alert_rows(ctx.state)
    assert (row["entity"], row["severity"]) == ("pvpc_eur_mwh", "critical")
    assert row["message"] == "63 slots missing, the longest gap has 60 h."


@pytest.mark.usefixtures("some_data")
@pytest.mark.parametrize(
    ("left", "message"),
    [
        ([], "Filled: no slot is missing any more."),
        ([("unfillable", "critical", 60)], "Over, with slots not filled: 60 with no source."),
        (
            [("missing", "minor", 2), ("unfillable", "minor", 1), ("quarantined", "critical", 9)],
            "Over, with slots not filled: 1 with no source, 2 in minor gaps, 9 quarantined.",
        ),
    ],
    ids=["filled", "unfillable", "mixed"],
)
def test_the_end_of_a_gap_says_what_became_of_it(
    ctx: RunContext, left: list[tuple[str, str, int]], message: str
) -> None:
    alerts.after_gaps(ctx, GAPS)
    rows = [
        ("pvpc_eur_mwh", slots, float(slots), severity, state) for state, severity, slots in left
    ]
    alerts.after_gaps(ctx, pd.DataFrame(rows, columns=GAPS.columns))
    (row,) = alerts.alert_rows(ctx.state, every=True)
    assert (row["status"], row["message"]) == ("resolved", message)


def test_a_replay_is_no_news(ctx: RunContext) -> None:
    alerts.after_gaps(replace(ctx, explicit_as_of=True), GAPS)
    ctx.clock.sleep(25 * 3600)
    alerts.after_gaps(ctx, GAPS)
    assert alerts.alert_rows(ctx.state) == []


def test_drift_is_open_until_it_is_over_and_marks_its_beginning(
    ctx: RunContext, now: datetime
) -> None:
    drifting = {"spot_eur_mwh": "Worse than naive."}
    alerts.after_predictions(ctx, drifting)
    began, why = get_mark(ctx.state, DRIFT, "spot_eur_mwh")
    assert (began, why) == (ctx.as_of, "Worse than naive.")
    (row,) = alerts.alert_rows(ctx.state)
    assert (row["topic"], row["entity"], row["severity"]) == ("forecast", "spot_eur_mwh", "warning")
    alerts.after_predictions(replace(ctx, as_of=now + timedelta(minutes=30)), drifting)
    assert get_mark(ctx.state, DRIFT, "spot_eur_mwh")[0] == began, "it goes on"
    alerts.after_predictions(replace(ctx, as_of=now + timedelta(hours=1)), {})
    assert alerts.alert_rows(ctx.state) == []
    assert get_mark(ctx.state, DRIFT, "spot_eur_mwh")[1] == ""
    alerts.after_predictions(replace(ctx, explicit_as_of=True), drifting)
    assert alerts.alert_rows(ctx.state) == []
