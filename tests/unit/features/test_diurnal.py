"""Hours drawn between daily extremes."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from factory_lib.features import diurnal


@pytest.fixture
def daily() -> pd.DataFrame:
    index = pd.date_range("2024-05-01", periods=4, freq="D", tz="UTC", name="start")
    rows = [(10, 20, 90, 40), (12, 24, 80, 30), (14, 28, 70, 20), (11, 21, 85, 45)]
    return pd.DataFrame(rows, index=index, columns=list(diurnal.DAILY), dtype=float)


def test_extremes_fall_on_their_hours(daily):
    hours = diurnal.hourly_from_daily(daily)
    coldest, warmest = (hours[hours.index.hour == h] for h in (5, 15))
    assert coldest["temperature_c"].tolist() == [10, 12, 14, 11]
    assert coldest["humidity_pct"].tolist() == [90, 80, 70, 85]
    assert warmest["temperature_c"].tolist()[:3] == [20, 24, 28]


def test_hours_between_are_halfway_and_never_beyond(daily):
    hours = diurnal.hourly_from_daily(daily)["temperature_c"]
    assert hours[datetime(2024, 5, 1, 10, tzinfo=UTC)] == pytest.approx(15)
    assert hours[datetime(2024, 5, 1, 22, tzinfo=UTC)] == pytest.approx(
        16
    )  # 20 in the afternoon, 12 next morning
    assert hours.dropna().between(10, 28).all()


def test_a_missing_day_is_not_bridged(daily):
    hours = diurnal.hourly_from_daily(daily.drop(daily.index[1]))["temperature_c"]
    assert hours["2024-05-02"].isna().all()
    assert hours[datetime(2024, 5, 1, 15, tzinfo=UTC)] == 20
    assert hours["2024-05-03"].notna().sum() == 19  # from the coldest hour on


def test_what_is_known_needs_no_later_day(daily):
    until = diurnal.known_until(
        datetime(2024, 5, 4, 7, tzinfo=UTC)
    )  # days that end by then: 1, 2 and 3 May
    changed = daily.copy()
    changed.loc["2024-05-04":] += 5
    before, after = (
        diurnal.hourly_from_daily(frame)[: until - pd.Timedelta(hours=1)]
        for frame in (daily, changed)
    )
    pd.testing.assert_frame_equal(before, after)
    assert until == datetime(2024, 5, 3, 16, tzinfo=UTC)
    assert not np.isclose(
        diurnal.hourly_from_daily(daily).loc[until, "temperature_c"],
        diurnal.hourly_from_daily(changed).loc[until, "temperature_c"],
    )
