"""Nothing after the issue time may change a feature; one that does look ahead is caught."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_lib.features.days import DayMatrix
from factory_lib.features.prices import SPOT, DayFeatures, ahead_name, price_features, supply_curve

DAYS = 80
Build = Callable[[DayMatrix, int, Mapping[str, DayMatrix]], DayFeatures]


def history(rng: np.random.Generator, scale: float = 1.0) -> DayMatrix:
    days = np.datetime64("2024-02-01") + np.arange(DAYS)
    return DayMatrix(days, scale * rng.normal(50, 20, (DAYS, 24)))


def disturbed(matrix: DayMatrix, after: int, rng: np.random.Generator) -> DayMatrix:
    """Replace everything after row ``after`` by other values, some of them unknown."""
    grid = matrix.grid.copy()
    later = grid[after + 1 :]
    grid[after + 1 :] = np.where(
        rng.random(later.shape) < 0.2, np.nan, rng.normal(1e4, 1e3, later.shape)
    )
    return DayMatrix(matrix.days, grid)


def leaking(build: Build, lead: int, issue: int, seed: int) -> set[str]:
    """Return the features of row issue + lead that change with what is published later."""
    rng = np.random.default_rng(seed)
    prices, load = history(rng), history(rng, 500.0)
    day_ahead = {name: history(rng, 500.0) for name in ("residual_load_mw", "pt_residual_load_mw")}
    day_ahead["load_mw"] = load
    if seed % 3 == 0:
        day_ahead[SPOT] = history(rng)
    target = issue + lead
    of_target = {
        ahead_name(name, lead): history(rng, 500.0)
        for name in day_ahead
        if lead > 1 and seed % 2 and name != SPOT
    }
    later = {name: disturbed(part, issue + (name != SPOT), rng) for name, part in day_ahead.items()}
    later |= {name: disturbed(part, target, rng) for name, part in of_target.items()}
    before = build(prices, lead, day_ahead | of_target)
    after = build(disturbed(prices, issue, rng), lead, later)
    hourly = zip(before.hourly_names, before.hourly[target], after.hourly[target], strict=True)
    daily = zip(before.daily_names, before.daily[target], after.daily[target], strict=True)
    scale = [
        ("level", before.level[target], after.level[target]),
        ("spread", before.spread[target], after.spread[target]),
        ("curve", before.curve[target], after.curve[target]),
        ("lowest", before.lowest[target], after.lowest[target]),
    ]
    if before.market is not None and after.market is not None:
        names = ("hourly", "daily", "level", "spread", "rest", "curve", "lowest")
        parts = (
            (name, getattr(before.market, name), getattr(after.market, name)) for name in names
        )
        scale += [(f"market {name}", old[target], new[target]) for name, old, new in parts]
    return {
        name
        for name, old, new in [*hourly, *daily, *scale]
        if not np.array_equal(old, new, equal_nan=True)
    }


@settings(deadline=None, max_examples=40)
@given(lead=st.integers(1, 7), issue=st.integers(2, DAYS - 8), seed=st.integers(0, 2**32 - 1))
def test_no_feature_knows_what_was_published_after_the_issue(lead, issue, seed):
    assert leaking(price_features, lead, issue, seed) == set()


def one_day_too_near(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]
) -> DayFeatures:
    return price_features(prices, lead - 1, exogenous)


def centred_mean(prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]) -> DayFeatures:
    honest = price_features(prices, lead, exogenous)
    around = (
        prices.grid + np.roll(prices.grid, 1, axis=0) + np.roll(prices.grid, -1, axis=0)
    ).mean(axis=1) / 3
    return replace(
        honest,
        daily=np.column_stack([honest.daily, around]),
        daily_names=(*honest.daily_names, "centred_mean"),
    )


def scaled_by_the_whole_history(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]
) -> DayFeatures:
    honest = price_features(prices, lead, exogenous)
    return replace(honest, spread=honest.spread / np.nanstd(prices.grid))


def curve_of_the_target_day(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]
) -> DayFeatures:
    honest = price_features(prices, lead, exogenous)
    load = exogenous["residual_load_mw"].grid
    return replace(honest, curve=supply_curve(prices.grid, load, load, 0))


def load_known_too_early(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]
) -> DayFeatures:
    named = {ahead_name(name, lead): matrix for name, matrix in exogenous.items()}
    return price_features(prices, lead, {**exogenous, **named})


@pytest.mark.parametrize(
    ("planted", "lead", "caught"),
    [
        pytest.param(one_day_too_near, 2, {"level", "spread", "lag_1d"}, id="lag one day too near"),
        pytest.param(centred_mean, 1, {"centred_mean"}, id="mean over both sides"),
        pytest.param(scaled_by_the_whole_history, 1, {"spread"}, id="scaled by the future"),
        pytest.param(curve_of_the_target_day, 1, {"curve"}, id="curve of the target day"),
        pytest.param(
            load_known_too_early,
            2,
            {"curve", "load_mw_latest"},
            id="the target day's load before it is published",
        ),
    ],
)
def test_a_planted_leak_is_caught(planted, lead, caught):
    assert caught <= leaking(planted, lead, issue=50, seed=1)
