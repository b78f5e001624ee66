"""Whatever is stored, in whatever order.

The five states add up, and the gaps are the holes, no more and no less.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from factory_lib.catalogue import QUARTERS_SINCE, default_catalogue
from factory_lib.clock import day_start, epoch
from factory_lib.pipeline.gaps import (
    Coverage,
    SlotState,
    classify,
    contained,
    day_labels,
    grid_step,
)
from factory_lib.slots import expected

CATALOGUE = default_catalogue()

NAMES = st.sampled_from(
    ["spot_eur_mwh", "pvpc_eur_mwh", "temperature_c", "temperature_mean_c", "gas_generation_mwh"]
)
# Around the change to quarters and both clock changes of that winter.
STARTS = st.integers(0, 200 * 86400).map(
    lambda s: datetime(2025, 9, 20, tzinfo=UTC) + timedelta(seconds=s)
)
DAYS = st.integers(0, 12)
SEEDS = st.integers(0, 2**32 - 1)


def some(rng: np.random.Generator, slots: np.ndarray) -> np.ndarray:
    """A random subset, shuffled, with strangers among it."""
    chosen = slots[rng.random(len(slots)) < rng.random()]
    strangers = rng.integers(0, 2**32, 5) | 1  # odd seconds are on no grid
    return rng.permutation(np.concatenate([chosen, strangers]))


@given(NAMES, STARTS, DAYS, SEEDS)
def test_the_five_states_add_up(name: str, start: datetime, days: int, seed: int) -> None:
    rng, entry = np.random.default_rng(seed), CATALOGUE[name]
    end = start + timedelta(days=days)
    slots = expected(entry, start, end)
    unfillable = [
        (epoch(start) + int(a), epoch(start) + int(b))
        for a, b in np.sort(rng.integers(0, 10**6, (3, 2)))
    ]
    present, quarantined = some(rng, slots), some(rng, slots)
    as_of = start + timedelta(days=float(rng.uniform(-1, days + 3)))

    coverage = classify(
        entry, start, end, present, as_of=as_of, quarantined=quarantined, unfillable=unfillable
    )

    assert sum(coverage.counts().values()) == len(slots)
    assert set(coverage.starts[coverage.states == SlotState.PRESENT]) == set(slots) & set(present)
    assert set(coverage.starts[coverage.states == SlotState.QUARANTINED]) == (
        set(slots) & set(quarantined)
    ) - set(present)
    late = coverage.starts[coverage.states == SlotState.LATE]
    assert not len(late) or late.min() + 900 > epoch(entry.due_until(as_of)) - 86400
    shuffled = classify(
        entry,
        start,
        end,
        rng.permutation(present),
        as_of=as_of,
        quarantined=quarantined,
        unfillable=unfillable,
    )
    np.testing.assert_array_equal(coverage.states, shuffled.states)


@given(NAMES, STARTS, DAYS, SEEDS)
def test_runs_are_maximal_and_cover_their_state(
    name: str, start: datetime, days: int, seed: int
) -> None:
    rng, entry = np.random.default_rng(seed), CATALOGUE[name]
    end = start + timedelta(days=days)
    slots = expected(entry, start, end)

    coverage = classify(entry, start, end, some(rng, slots), as_of=datetime(2027, 1, 1, tzinfo=UTC))

    gaps = coverage.runs(SlotState.MISSING)
    inside = np.zeros(len(slots), dtype=bool)
    for first, last in zip(gaps.starts, gaps.ends, strict=True):
        inside |= (slots >= first) & (slots < last)
    np.testing.assert_array_equal(
        slots[inside], coverage.starts[coverage.states == SlotState.MISSING]
    )
    assert (gaps.starts[1:] > gaps.ends[:-1]).all()  # touching stretches would be one
    assert gaps.slots.sum() == coverage.counts()["missing"]
    np.testing.assert_array_equal(coverage.starts[1:], coverage.ends[:-1])


@given(
    st.integers(1, 400),
    SEEDS,
    st.sampled_from(["metered_quarter_kwh", "temperature_c", "temperature_mean_c"]),
)
def test_runs_agree_with_a_walk_along_the_grid(size: int, seed: int, name: str) -> None:
    rng, entry = np.random.default_rng(seed), CATALOGUE[name]
    step = entry.cadences[0].resolution_s
    grid = np.arange(size, dtype=np.int64) * step + 7 * step
    mask = rng.random(size) < 0.4
    states = np.where(mask, SlotState.MISSING, SlotState.PRESENT).astype(np.uint8)

    stretches = Coverage(entry, grid, grid + step, states).runs(SlotState.MISSING)

    walked, begin = [], None
    missing = set(grid[mask].tolist())
    for slot in [*grid.tolist(), int(grid[-1]) + step]:
        if slot in missing:
            begin = slot if begin is None else begin
        elif begin is not None:
            walked.append((begin, slot))
            begin = None
    assert list(zip(stretches.starts.tolist(), stretches.ends.tolist(), strict=True)) == walked
    assert (stretches.seconds == stretches.slots * step).all()


@given(SEEDS, st.integers(0, 50_000))
def test_contained_agrees_with_isin_over_several_blocks(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    slots = np.arange(20_000, dtype=np.int64) * 900
    among = rng.integers(-(10**6), 2 * 10**7, size)
    np.testing.assert_array_equal(contained(slots, among, 900), np.isin(slots, among))


@given(STARTS, DAYS)
def test_every_slot_belongs_to_its_market_day(start: datetime, days: int) -> None:
    entry = CATALOGUE["spot_eur_mwh"]
    slots = expected(entry, start, start + timedelta(days=days))
    names = day_labels(slots)
    begins = [epoch(day_start(datetime.fromtimestamp(int(name), UTC).date())) for name in names]
    offset = slots - np.array(begins, dtype=np.int64)
    assert ((offset >= 0) & (offset < 25 * 3600)).all()


def test_the_step_of_a_grid_holds_all_cadences() -> None:
    entry = CATALOGUE["spot_eur_mwh"]
    around = expected(
        entry, QUARTERS_SINCE - timedelta(hours=2), QUARTERS_SINCE + timedelta(hours=1)
    )
    assert grid_step(entry) == 900
    assert np.diff(around).tolist() == [3600, 3600, 900, 900, 900]
