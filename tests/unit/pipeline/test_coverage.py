from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from factory_lib import catalogue
from factory_lib.clock import HOUR_S, day_bounds, epoch
from factory_lib.pipeline.gaps import NO_SLOTS, SlotState, classify
from factory_lib.slots import expected

CATALOGUE = catalogue.default_catalogue()

SPOT, TEMPERATURE, CLIMATE = (
    CATALOGUE[n] for n in ("spot_eur_mwh", "temperature_c", "temperature_mean_c")
)
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)
T0 = datetime(2026, 3, 1, tzinfo=UTC)


def without(
    entry: catalogue.Series, start: datetime, end: datetime, *holes: tuple[int, int]
) -> np.ndarray:
    """All slots but those at the positions of the half-open holes."""
    slots = expected(entry, start, end)
    keep = np.ones(len(slots), dtype=bool)
    for first, last in holes:
        keep[first:last] = False
    return slots[keep]


@pytest.mark.parametrize(
    ("day", "slots"),
    [
        pytest.param("2025-03-30", 23, id="23-hours"),
        pytest.param("2025-10-26", 100, id="100-quarters"),
        pytest.param("2026-03-29", 92, id="92-quarters"),
        pytest.param("2025-09-30", 24, id="last-hourly-day"),
        pytest.param("2025-10-01", 96, id="first-quarter-day"),
    ],
)
def test_a_market_day_has_the_slots_it_has(day: str, slots: int) -> None:
    start, end = day_bounds(datetime.fromisoformat(day).date())
    assert classify(SPOT, start, end, NO_SLOTS, as_of=LONG_AFTER).counts()["missing"] == slots


def test_one_missing_hour_lasts_one_hour() -> None:
    end = T0 + timedelta(days=1)
    gaps = classify(
        TEMPERATURE, T0, end, without(TEMPERATURE, T0, end, (5, 6)), as_of=LONG_AFTER
    ).runs(SlotState.MISSING)
    assert (gaps.ends - gaps.starts).tolist() == gaps.seconds.tolist() == [HOUR_S]


def test_a_present_slot_keeps_two_gaps_apart() -> None:
    end = T0 + timedelta(days=1)
    present = without(TEMPERATURE, T0, end, (3, 6), (7, 9))
    assert classify(TEMPERATURE, T0, end, present, as_of=LONG_AFTER).runs(
        SlotState.MISSING
    ).slots.tolist() == [3, 2]


def test_a_gap_goes_on_across_the_local_midnight() -> None:
    end = T0 + timedelta(days=2)
    present = without(TEMPERATURE, T0, end, (20, 26))  # 20Z to 02Z; the market day changes at 23Z
    gaps = classify(TEMPERATURE, T0, end, present, as_of=LONG_AFTER).runs(SlotState.MISSING)
    assert len(gaps.starts) == 1


def test_what_is_not_due_is_late_and_not_missing() -> None:
    as_of = T0 + timedelta(hours=10)  # weather: an hour to publish, two of grace
    counts = classify(TEMPERATURE, T0, as_of, NO_SLOTS, as_of=as_of).counts()
    assert (counts["missing"], counts["late"]) == (7, 3)


def test_prices_of_tomorrow_are_missing_once_published_and_grace_is_over() -> None:
    day = datetime(2026, 4, 15, tzinfo=UTC)
    start, end = day_bounds((day + timedelta(days=1)).date())
    before = classify(
        SPOT, start, end, NO_SLOTS, as_of=day + timedelta(hours=12)
    ).counts()  # 14:00 in Madrid
    after = classify(SPOT, start, end, NO_SLOTS, as_of=day + timedelta(hours=13)).counts()
    assert (before["late"], after["missing"]) == (96, 96)


def test_a_daily_series_counts_in_days_and_takes_nothing_from_hours() -> None:
    end = T0 + timedelta(days=4)
    hours = expected(TEMPERATURE, T0 + timedelta(hours=1), T0 + timedelta(hours=23))
    gaps = classify(CLIMATE, T0, end, hours, as_of=LONG_AFTER).runs(SlotState.MISSING)
    assert (gaps.slots.tolist(), gaps.seconds.tolist()) == ([4], [4 * 86400])


def test_a_market_day_of_25_hours_is_one_day_of_a_daily_series() -> None:
    start, end = day_bounds(datetime(2025, 10, 26, tzinfo=UTC).date())
    gaps = classify(CATALOGUE["gas_generation_mwh"], start, end, NO_SLOTS, as_of=LONG_AFTER).runs(
        SlotState.MISSING
    )
    assert gaps.starts.tolist() == [epoch(start)]
    assert gaps.ends.tolist() == [epoch(end)]
    assert gaps.seconds.tolist() == [86400]


def test_quarantined_and_unfillable_are_neither_present_nor_missing() -> None:
    end = T0 + timedelta(hours=6)
    slots = expected(TEMPERATURE, T0, end)
    coverage = classify(
        TEMPERATURE,
        T0,
        end,
        slots[:2],
        as_of=LONG_AFTER,
        quarantined=slots[1:3],
        unfillable=[(int(slots[3]), int(slots[5]))],
    )
    assert coverage.counts() == {
        "present": 2,
        "late": 0,
        "missing": 1,
        "quarantined": 1,
        "unfillable": 2,
    }


def test_nothing_before_the_series_began_is_expected() -> None:
    pvpc = CATALOGUE["pvpc_eur_mwh"]
    coverage = classify(
        pvpc, pvpc.since - timedelta(days=9), pvpc.since, NO_SLOTS, as_of=LONG_AFTER
    )
    assert sum(coverage.counts().values()) == 0
