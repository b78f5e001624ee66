"""Forecasts against observations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib import catalogue
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.models import verification
from tests.support.stored import store_observed

CATALOGUE = catalogue.default_catalogue()

NOON = datetime(2025, 6, 10, 10, tzinfo=UTC)  # 12:00 in Madrid
ENTRY = CATALOGUE["spot_eur_mwh"]


def prices(start: datetime, hours: int) -> pd.Series:
    index = pd.date_range(start, periods=hours, freq="h").as_unit("s")
    return pd.Series(np.arange(hours, dtype=float), index=index)


def forecasts(
    issued: datetime, actual: pd.Series, *, days: int = 2, error: float = 1.0, band: float = 2.0
) -> pd.DataFrame:
    first = (issued + timedelta(days=1)).replace(hour=22) - timedelta(
        days=1
    )  # local midnight in summer
    targets = pd.date_range(first, periods=24 * days, freq="h").as_unit("s")
    p50 = actual.reindex(targets).to_numpy() + error
    frame = pd.DataFrame(
        {"target_start": targets, "p50": p50, "p10": p50 - band, "p90": p50 + band}
    )
    issue = {
        "issued_at": pd.Timestamp(issued).as_unit("s"),
        "model": "champion",
        "tier": "champion",
    }
    identity = {"series": "spot_eur_mwh", "place": "ES", "resolution_s": 3600}
    return frame.assign(**issue, **identity)[list(FORECAST_COLUMNS)]


@pytest.fixture
def actual() -> pd.Series:
    return prices(NOON - timedelta(days=40), 24 * 45)


def test_leads_are_market_days_and_naive_is_the_latest_published_same_hour(actual):
    made = verification.match_observations(forecasts(NOON, actual), actual, ENTRY)
    assert made.groupby("lead_days").size().to_dict() == {1: 24, 2: 24}
    back = (made["actual"] - made["naive"]) / 24
    assert back.groupby(made["lead_days"]).unique().map(list).to_dict() == {1: [1.0], 2: [2.0]}


def test_the_mean_of_three_stands_beside(actual):
    """Prices rise by 1 EUR/MWh an hour: a value so many days old is as many times 24 too low."""
    made = verification.match_observations(forecasts(NOON, actual), actual, ENTRY)
    days = (made["actual"] - made["simple"]) / 24
    expected = {lead: (lead + (lead + 3) + 17.5) / 3 for lead in (1, 2)}
    assert days.groupby(made["lead_days"]).mean().to_dict() == pytest.approx(expected)
    error = verification.by_lead(made).set_index("lead_days")["simple_mae"]
    assert (error / 24).to_dict() == pytest.approx(expected)


def test_after_publication_the_day_after_tomorrow_has_a_nearer_naive(actual):
    afternoon = NOON + timedelta(hours=3)
    made = verification.match_observations(forecasts(afternoon, actual), actual, ENTRY)
    later = made[made["lead_days"] == 2]
    assert ((later["actual"] - later["naive"]) / 24).unique().tolist() == [1.0]


def test_accuracy_by_lead(actual):
    found = verification.by_lead(
        verification.match_observations(forecasts(NOON, actual, error=-3.0), actual, ENTRY)
    ).set_index("lead_days")
    assert found.loc[1, ["slots", "mae", "naive_mae", "bias", "coverage_80"]].tolist() == [
        24,
        3,
        24,
        -3,
        0,
    ]
    assert found.loc[2, "rmae"] == pytest.approx(3 / 48)


def test_slots_without_observation_are_left_out(actual):
    known = actual[: NOON + timedelta(days=1)]
    assert len(verification.match_observations(forecasts(NOON, actual), known, ENTRY)) == 13


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        pytest.param([2] * 20, "", id="steady"),
        pytest.param([2] * 13 + [5] * 7, "2.5 times", id="much worse than before"),
        pytest.param([2] * 13 + [30] * 7, "worse than naive", id="worse than naive"),
        pytest.param([30] * 4, "", id="too few days to tell"),
        pytest.param([2] * 4 + [5] * 7, "", id="too few days before"),
        pytest.param([], "", id="nothing issued"),
    ],
)
def test_drift_is_named(actual, errors, expected):
    parts = [
        verification.match_observations(
            forecasts(NOON - timedelta(days=len(errors) - n), actual, days=1, error=error),
            actual,
            ENTRY,
        )
        for n, error in enumerate(errors)
    ]
    rows = (
        pd.concat(parts)
        if parts
        else verification.match_observations(forecasts(NOON, actual), actual[:0], ENTRY)
    )
    found = verification.drift(rows)
    assert expected in found
    assert bool(expected) == bool(found)


def test_verification_reads_every_issue_from_the_store(ctx, actual):
    store_observed(ctx, "spot_eur_mwh", actual.index, actual, place="ES", source="ree", at=NOON)
    for days in (3, 2, 1):
        ctx.store.write_forecasts(forecasts(NOON - timedelta(days=days), actual), run_id="test")
    found = verification.verification_pairs(
        replace(ctx, as_of=NOON + timedelta(hours=12)), "spot_eur_mwh"
    )
    assert verification.by_lead(found).set_index("lead_days")["slots"].to_dict() == {1: 72, 2: 48}
    assert verification.drift(found) == ""


def test_quarters_right_after_the_change_of_cadence_are_compared_with_the_hours_before(ctx):
    issued = catalogue.QUARTERS_SINCE - timedelta(hours=12)
    hours = pd.date_range(
        catalogue.QUARTERS_SINCE - timedelta(days=9),
        catalogue.QUARTERS_SINCE,
        freq="h",
        inclusive="left",
    )
    quarters = pd.date_range(catalogue.QUARTERS_SINCE, periods=96, freq="15min")
    for index, resolution, value in ((hours, 3600, 7.0), (quarters, 900, 10.0)):
        store_observed(
            ctx,
            "spot_eur_mwh",
            index.as_unit("s"),
            np.full(len(index), value),
            place="ES",
            source="ree",
            at=NOON,
            step_s=resolution,
        )
    frame = pd.DataFrame(
        {"target_start": quarters.as_unit("s"), "p10": 8.0, "p50": 11.0, "p90": 14.0}
    )
    issue = {
        "issued_at": pd.Timestamp(issued).as_unit("s"),
        "model": "champion",
        "tier": "champion",
    }
    identity = {"series": "spot_eur_mwh", "place": "ES", "resolution_s": 900}
    made = frame.assign(**issue, **identity)[list(FORECAST_COLUMNS)]
    ctx.store.write_forecasts(made, run_id="test")
    later = replace(ctx, as_of=catalogue.QUARTERS_SINCE + timedelta(days=2))
    accuracy = verification.by_lead(verification.verification_pairs(later, "spot_eur_mwh"))
    assert accuracy[["slots", "mae", "naive_mae"]].to_numpy().tolist() == [[96, 1.0, 3.0]]


def test_without_forecasts_there_is_no_accuracy(ctx):
    found = verification.verification_pairs(ctx, "spot_eur_mwh")
    assert verification.by_lead(found).empty


@pytest.mark.parametrize("day", ["2025-03-30", "2025-03-31", "2025-10-26", "2025-10-27"])
def test_a_day_before_is_the_same_hour_of_the_clock_where_that_is_changed(day: str) -> None:
    """The price is the local hour: what repeats earlier days is never wrong."""
    midnight = pd.Timestamp(day)
    around = [midnight + timedelta(days=days) for days in (-40, 3)]
    hours, targets = (
        pd.date_range(*ends, freq="h", inclusive="left", tz="Europe/Madrid").tz_convert("UTC")
        for ends in (around, [midnight, midnight + timedelta(days=1)])
    )
    actual = pd.Series(hours.tz_convert("Europe/Madrid").hour.astype(float), hours.as_unit("s"))
    frame = pd.DataFrame({"target_start": targets.as_unit("s"), "p50": 0.0})
    issued_at = (midnight - timedelta(hours=12)).tz_localize("Europe/Madrid").tz_convert("UTC")
    frame = frame.assign(issued_at=issued_at.as_unit("s"), resolution_s=3600)
    made = verification.match_observations(frame, actual, ENTRY)
    assert len(made) == len(targets)
    for name in ("naive", "simple"):
        assert (made[name] - made["actual"]).abs().max() == 0
