"""No feature knows the future.

Whatever happens after what an issue can know, its rows stay the same.
"""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_lib import catalogue
from factory_lib.features import horizon
from factory_lib.features.horizon import HUMIDITY, PRICE, TEMPERATURE

CATALOGUE = catalogue.default_catalogue()

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 130  # over the clock change of 29 March
PRICE_RULE = CATALOGUE["spot_eur_mwh"].publication[catalogue.Kind.OBSERVED]
WEATHER_RULE = CATALOGUE["temperature_c"].publication[catalogue.Kind.OBSERVED]
KNOWN = {
    PRICE: PRICE_RULE.known_until,
    TEMPERATURE: WEATHER_RULE.known_until,
    HUMIDITY: WEATHER_RULE.known_until,
}


def hours(seed: int = 1) -> pd.DataFrame:
    index = pd.date_range(FIRST, periods=DAYS * 24, freq="h", name="start").as_unit("s")
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            PRICE: draw.normal(60, 30, len(index)),
            TEMPERATURE: draw.normal(18, 6, len(index)),
            HUMIDITY: draw.uniform(20, 95, len(index)),
        },
        index=index,
    )


HOURS = hours()


def features(hourly: pd.DataFrame, issue: datetime, known=KNOWN) -> pd.DataFrame:
    rows = horizon.horizon_rows([issue])
    return horizon.horizon_features(horizon.AsOfView(hourly, rows, known), rows)


@settings(max_examples=25, deadline=None)
@given(
    issue=st.datetimes(
        datetime(2026, 3, 20),  # noqa: DTZ001
        datetime(2026, 4, 20),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    column=st.sampled_from([PRICE, TEMPERATURE, HUMIDITY]),
    seed=st.integers(0, 1000),
)
def test_nothing_after_what_an_issue_knows_changes_its_features(issue, column, seed):
    issue = issue.replace(microsecond=0)
    changed = HOURS.copy()
    unknown = changed.index + timedelta(hours=1) > KNOWN[column](issue)
    changed.loc[unknown, column] = hours(seed + 2).loc[unknown, column]
    pd.testing.assert_frame_equal(features(changed, issue), features(HOURS, issue))


@pytest.mark.parametrize("column", [PRICE, TEMPERATURE, HUMIDITY])
def test_a_planted_leak_is_seen(column):
    issue = datetime(2026, 4, 14, 10, tzinfo=UTC)
    leaky = {**KNOWN, column: lambda instant: KNOWN[column](instant) + timedelta(hours=6)}
    changed = HOURS.copy()
    unknown = changed.index + timedelta(hours=1) > KNOWN[column](issue)
    changed.loc[unknown, column] += 7
    pd.testing.assert_frame_equal(features(changed, issue), features(HOURS, issue))
    assert not features(changed, issue, leaky).equals(features(HOURS, issue, leaky))


@pytest.mark.parametrize("column", [PRICE, TEMPERATURE, HUMIDITY])
def test_the_first_hour_that_is_not_over_is_not_known(column):
    issue = datetime(2026, 4, 14, 10, 30, tzinfo=UTC)
    rows = horizon.horizon_rows([issue])
    view = horizon.AsOfView(HOURS, rows, KNOWN)
    first_s = np.full(len(rows), int(KNOWN[column](issue).timestamp()) // 3600 * 3600)
    assert np.isnan(view.known_values(column, first_s)).all()
    assert np.isfinite(view.known_values(column, first_s - 3600)).all()


def test_known_values_do_reach_the_features():
    issue = datetime(2026, 4, 14, 10, tzinfo=UTC)
    for column, moved in ((PRICE, "price_position_latest"), (TEMPERATURE, "temperature_latest")):
        changed = HOURS.copy()
        changed.loc[changed.index < issue - timedelta(hours=2), column] += 7
        assert not features(changed, issue)[moved].equals(features(HOURS, issue)[moved])


@pytest.mark.parametrize(
    ("day", "hours_tomorrow"),
    [(date(2026, 3, 28), 23), (date(2026, 4, 14), 24), (date(2026, 10, 24), 25)],
    ids=["tomorrow has 23 hours", "24", "25"],
)
def test_rows_reach_to_the_end_of_the_next_market_day(day, hours_tomorrow):
    rows = horizon.horizon_rows(horizon.issue_times(day, day, [time(12)]))
    assert rows["day_ahead"].sum() == hours_tomorrow
    assert (~rows["day_ahead"]).sum() == 12
    assert rows["lead_h"].tolist() == list(range(12 + hours_tomorrow))


def test_the_targets_are_those_of_the_target_hour():
    issue = datetime(2026, 4, 14, 10, tzinfo=UTC)
    rows = horizon.horizon_rows([issue])
    view = horizon.AsOfView(HOURS, rows, KNOWN)
    changed = HOURS.copy()
    changed.loc[rows["target_start"].iloc[5], TEMPERATURE] = 21.0
    moved = (
        horizon.horizon_targets(horizon.AsOfView(changed, rows, KNOWN), rows)["score"]
        != horizon.horizon_targets(view, rows)["score"]
    )
    assert moved[moved].index.tolist() == [5]


def test_tomorrows_price_is_used_once_it_is_published():
    before, after = datetime(2026, 4, 14, 10, tzinfo=UTC), datetime(2026, 4, 14, 12, tzinfo=UTC)
    tomorrow = {
        issue: features(HOURS, issue).iloc[-24:]["price_days_back"].unique().tolist()
        for issue in (before, after)
    }
    assert tomorrow == {before: [1.0], after: [0.0]}
