from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.context import RunContext
from factory_lib.errors import StoreUnavailable
from factory_lib.pipeline.gaps import analyse, severity_index
from factory_lib.pipeline.summary import summarise_gaps
from factory_lib.slots import expected
from factory_lib.state.attempts import record_unfillable
from tests.support.stored import store_observed

CATALOGUE = default_catalogue()

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)  # where the profile's clock stands
DAY = timedelta(days=1)
BEGIN, END = NOW - 10 * DAY, NOW - DAY


def store_hours(
    ctx: RunContext, *holes: tuple[int, int], name: str = "temperature_c", place: str = "5279X"
) -> None:
    """Store ten days of hours but those at the positions of the half-open holes."""
    slots = expected(CATALOGUE[name], BEGIN, END)
    keep = [n for n in range(len(slots)) if not any(a <= n < b for a, b in holes)]
    store_observed(
        ctx, name, slots[keep], [20.0 + n % 5 for n in keep], place=place, source="aemet", at=NOW
    )


@pytest.mark.parametrize(
    ("hours", "severity", "priority"),
    [
        pytest.param(1, "minor", "low", id="one-hour-is-one-hour"),
        pytest.param(2, "minor", "low", id="two-inclusive"),
        pytest.param(3, "moderate", "medium", id="three"),
        pytest.param(12, "moderate", "medium", id="twelve-inclusive"),
        pytest.param(13, "critical", "high", id="thirteen"),
    ],
)
def test_severity_follows_the_table(
    ctx: RunContext, hours: int, severity: str, priority: str
) -> None:
    store_hours(ctx, (20, 20 + hours))
    (gap,) = analyse(ctx, BEGIN, END, series=["temperature_c"]).gaps.to_dict("records")
    assert (gap["slots"], gap["duration_h"]) == (hours, hours)
    assert (gap["severity"], gap["priority"]) == (severity, priority)
    assert gap["end"] - gap["start"] == pd.Timedelta(hours=hours)


def test_two_and_a_quarter_hours_are_moderate(ctx: RunContext) -> None:
    assert severity_index(
        pd.Series([2.0, 2.25, 12.0, 12.25]).to_numpy(), ctx.settings.gaps
    ).tolist() == [0, 1, 1, 2]


def test_hours_where_quarters_are_due_are_a_gap_that_says_so(ctx: RunContext) -> None:
    def store(step_s: int, source: str, start: datetime, count: int) -> None:
        starts = pd.date_range(start, periods=count, freq=f"{step_s}s", unit="s")
        place = {"place": "ES", "source": source, "at": NOW, "step_s": step_s}
        store_observed(ctx, "spot_eur_mwh", starts, [50.0] * count, **place)

    store(900, "omie", BEGIN, 96)
    store(3600, "ree", BEGIN, 48)
    report = analyse(ctx, BEGIN, BEGIN + 3 * DAY, series=["spot_eur_mwh"])
    counted = report.metrics
    assert (counted["present"], counted["missing"], counted["by_the_hour"]) == (96, 192, 96)
    assert "96 quarters of spot_eur_mwh" in summarise_gaps(report).notes[0]
    store(900, "omie", BEGIN + DAY, 96)
    report = analyse(ctx, BEGIN, BEGIN + 3 * DAY, series=["spot_eur_mwh"])
    assert (report.metrics["by_the_hour"], summarise_gaps(report).notes) == (0, ())


def test_any_trusted_place_fills_a_slot(ctx: RunContext) -> None:
    store_hours(ctx, (20, 40))
    store_hours(ctx, (0, 20), (40, 500), place="38.151,-3.629")
    assert analyse(ctx, BEGIN, END, series=["temperature_c"]).metrics["missing"] == 0


def test_a_place_of_no_trust_fills_nothing(ctx: RunContext) -> None:
    store_hours(ctx, place="Sevilla")
    report = analyse(ctx, BEGIN, END, series=["temperature_c"])
    assert report.metrics["missing"] == report.metrics["expected"]


def test_the_window_begins_with_the_first_stored_slot(ctx: RunContext) -> None:
    store_hours(ctx, (0, 24))
    report = analyse(ctx, series=["temperature_c", "humidity_pct"]).accounting.set_index("series")
    assert report.loc["temperature_c", "start"] == pd.Timestamp(BEGIN + DAY)
    look_back = NOW - timedelta(days=ctx.settings.gaps.look_back_days)
    assert report.loc["humidity_pct", "start"] == pd.Timestamp(look_back)


def test_what_is_neither_served_nor_stored_is_not_expected(ctx: RunContext) -> None:
    names = set(analyse(ctx).accounting["series"])
    assert {"spot_eur_mwh", "pvpc_eur_mwh", "temperature_c"} <= names
    assert "temperature_mean_c" not in names  # climate: neither a key nor an import


def test_nothing_known_later_than_as_of_counts(ctx: RunContext) -> None:
    store_hours(ctx)
    report = analyse(ctx, BEGIN, END, series=["temperature_c"])
    replay = analyse(
        RunContext(**{**vars(ctx), "as_of": BEGIN + DAY}), BEGIN, END, series=["temperature_c"]
    )
    assert report.metrics["present"] == 216
    assert replay.metrics["present"] == 23  # an hour after its end each
    assert replay.metrics["missing"] == 0


def test_a_quarantined_value_is_no_present_one(ctx: RunContext) -> None:
    store_hours(ctx)
    stored = ctx.store.read(
        "temperature_c", places=["5279X"], start=BEGIN + DAY, end=BEGIN + DAY + DAY / 24
    )
    verdict = stored[["series", "place", "source", "start", "rev"]].assign(
        verdict="quarantined",
        rule="step",
        reason="40 K in an hour",
        at=pd.Timestamp(NOW),
        by="test",
    )
    ctx.store.write_verdicts(verdict)
    report = analyse(ctx, BEGIN, END, series=["temperature_c"])
    assert (report.metrics["present"], report.metrics["quarantined"]) == (215, 1)
    assert report.gaps["state"].tolist() == ["quarantined"]


def test_the_unfillable_is_remembered_until_it_is_to_be_asked_again(ctx: RunContext) -> None:
    store_hours(ctx, (20, 25))
    source_places = analyse(ctx, series=["temperature_c"]).coverages[0].target.source_places
    hole = int(BEGIN.timestamp()) + 20 * 3600, int(BEGIN.timestamp()) + 25 * 3600, 2**40
    record_unfillable(ctx.state, "temperature_c", [hole], source_places, NOW)

    def states(days: int) -> tuple[float, ...]:
        later = RunContext(**{**vars(ctx), "as_of": NOW + days * DAY})
        found = analyse(later, BEGIN, END, series=["temperature_c"]).metrics
        return found["unfillable"], found["missing"]

    (gap,) = analyse(ctx, BEGIN, END, series=["temperature_c"]).gaps.to_dict("records")
    assert (gap["strategy"].partition(":")[0], gap["priority"]) == ("none", "none")
    assert states(0) == (5, 0)
    assert states(8) == (5, 0)  # the hole was nine days old: asked again when it is twice that
    assert states(10) == (0, 5)


def test_a_new_source_makes_the_unfillable_missing_again(ctx: RunContext) -> None:
    store_hours(ctx, (20, 25))
    hole = int(BEGIN.timestamp()) + 20 * 3600, int(BEGIN.timestamp()) + 25 * 3600, 2**40
    record_unfillable(ctx.state, "temperature_c", [hole], [("siar", "J17")], NOW)
    assert analyse(ctx, BEGIN, END, series=["temperature_c"]).metrics["missing"] == 5


def test_a_store_that_is_away_is_not_without_gaps(ctx: RunContext) -> None:
    ctx.store.close()
    with pytest.raises(StoreUnavailable):
        analyse(ctx)


def test_the_calendar_gives_the_share_of_each_market_day(ctx: RunContext) -> None:
    store_hours(ctx, (14, 26))  # the market day of 7 April begins at 22Z
    calendar = analyse(ctx, BEGIN, END, series=["temperature_c"]).calendar["temperature_c"]
    assert calendar.loc["2026-04-06"] == (24 - 12) / 24
    assert calendar.loc["2026-04-10"] == 1.0
