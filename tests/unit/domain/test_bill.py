"""Published terms, the all-in price, the exact bill and the best contract."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.domain.tariff import (
    all_in,
    best_contract,
    bill,
    excess_rule,
    local_dates,
    read_tariff,
)
from factory_lib.errors import BadInput
from factory_lib.settings.tariff import PERIODS, ContractSettings

TABLE = Path(__file__).parents[3] / "config" / "tariffs_es.csv"
TARIFF = read_tariff(TABLE, "3.0TD")
PLAIN = ContractSettings(electricity_tax_pct=0.0)


def hours(first: str, days: int) -> pd.DatetimeIndex:
    start = pd.Timestamp(first, tz="Europe/Madrid")
    end = start + pd.DateOffset(days=days)
    return pd.date_range(start, end, freq="h", inclusive="left").tz_convert("UTC")


def sized(kw: float) -> ContractSettings:
    return structs.replace(PLAIN, kw=dict.fromkeys(PERIODS, kw))


def test_a_working_day_of_july_pays_the_published_toll_and_charge():
    index = hours("2026-07-15", 1)
    price = all_in(index, np.full(24, 100.0), TARIFF, PLAIN)
    by_hour = price["toll_eur_mwh"].to_numpy()
    assert by_hour[10] == pytest.approx(27.511 + 35.841)  # P1
    assert by_hour[15] == pytest.approx(12.376 + 26.538)  # P2
    assert by_hour[3] == pytest.approx(0.031 + 2.867)  # P6
    assert price["price_eur_mwh"].to_numpy() == pytest.approx(100 + by_hour)


def test_contract_terms_and_tax_are_on_the_marginal_price():
    contract = ContractSettings(
        margin_eur_mwh=2.0, adjustment_eur_mwh=20.0, capacity_eur_mwh=1.0, losses_pct=10.0
    )
    price = all_in(hours("2026-07-15", 1)[:1], [100.0], TARIFF, contract).iloc[0]
    assert price["other_eur_mwh"] == pytest.approx(121 * 1.1 + 2 - 100)
    expected = (100 + price["other_eur_mwh"] + price["toll_eur_mwh"]) * 1.0511269632
    assert price["price_eur_mwh"] == pytest.approx(expected)
    assert ContractSettings(margin_eur_mwh=0.0).unset == (
        "adjustment_eur_mwh",
        "capacity_eur_mwh",
        "losses_pct",
    )


@pytest.mark.parametrize(
    ("day", "term", "p1"),
    [
        ("2021-05-01", "energy_toll_eur_mwh", 17.752),
        ("2022-04-01", "energy_toll_eur_mwh", 17.752),
        ("2025-12-31", "energy_toll_eur_mwh", 28.528),
        ("2031-01-01", "energy_toll_eur_mwh", 27.511),
        ("2022-06-01", "power_toll_eur_kw_year", 10.267292),
        ("2024-06-01", "excess_eur_kw_day", 0.171373),
    ],
)
def test_a_missing_year_takes_the_nearest_that_has_the_term(day, term, p1):
    assert TARIFF.rates(np.array([day], "datetime64[D]"), term)[0, 0] == p1


def test_a_borrowed_year_is_named_and_a_published_one_is_not():
    days = np.array(["2024-06-01", "2024-06-02"], "datetime64[D]")
    (note,) = TARIFF.notes(days)
    assert "excess_eur_kw_day of 3.0TD 2024: the values of 2026 are used" in note
    assert TARIFF.notes(np.array(["2026-06-01"], "datetime64[D]")) == ()
    assert len(TARIFF.notes(np.array(["2030-06-01"], "datetime64[D]"))) == 5
    early = TARIFF.notes(np.array(["2022-02-01"], "datetime64[D]"))
    assert any("energy_toll_eur_mwh of 3.0TD 2022" in line for line in early)


def test_one_year_can_be_taken_for_all():
    study = read_tariff(TABLE, "6.1TD", year=2024)
    days = np.array(["2019-01-01", "2026-01-01"], "datetime64[D]")
    assert study.rates(days, "energy_charge_eur_mwh")[:, 0].tolist() == [13.305, 13.305]


def test_a_tariff_without_rows_is_refused():
    with pytest.raises(BadInput, match=r"no tolls of 2\.0TD"):
        read_tariff(TABLE, "2.0TD")


def test_a_small_contract_pays_its_highest_quarter_for_every_day_of_the_month():
    index = hours("2026-02-02", 1)
    load = pd.Series(40.0, index=index)
    load.iloc[[10, 12]] = [47.0, 45.0]  # P1
    charged = bill(load, all_in(index, np.zeros(24), TARIFF, PLAIN), sized(40.0), TARIFF)
    assert charged.loc["2026-02", "excess_eur"] == pytest.approx(0.171373 * 7 * 28)


def test_a_large_contract_pays_the_root_of_the_squares_of_its_quarters():
    index = hours("2026-02-02", 1)
    load = pd.Series(90.0, index=index)
    load.iloc[[10, 12]] = [93.0, 94.0]
    contract = structs.replace(sized(90.0), excess_eur_kw=dict.fromkeys(PERIODS, 2.0))
    charged = bill(load, all_in(index, np.zeros(24), TARIFF, PLAIN), contract, TARIFF)
    assert charged.loc["2026-02", "excess_eur"] == pytest.approx(2.0 * np.sqrt(4 * (9 + 16)))
    quarters = (
        load.resample("15min").ffill().reindex(pd.date_range(index[0], periods=96, freq="15min"))
    )
    quarters = quarters.ffill()
    prices = all_in(pd.DatetimeIndex(quarters.index), np.zeros(96), TARIFF, PLAIN)
    again = bill(quarters, prices, contract, TARIFF)
    assert again.loc["2026-02", "excess_eur"] == pytest.approx(charged.loc["2026-02", "excess_eur"])


def test_the_assumed_rate_of_large_contracts_follows_the_power_toll():
    rule = excess_rule(hours("2026-02-02", 1), sized(90.0), TARIFF)
    by_period = dict(zip(rule.key % 6 + 1, rule.rate_eur, strict=True))
    assert by_period[1] == pytest.approx(1.4064)
    assert by_period[2] == pytest.approx(1.4064 * 7.894323 / 14.935084)


def test_two_months_are_billed_apart_and_the_power_term_by_the_day():
    index = hours("2026-01-30", 4)
    load = pd.Series(10.0, index=index)
    charged = bill(load, all_in(index, np.full(96, 50.0), TARIFF, PLAIN), sized(100.0), TARIFF)
    assert charged.index.tolist() == ["2026-01", "2026-02"]
    assert charged["energy_eur"].tolist() == pytest.approx([48 * 0.01 * 50.0] * 2)
    assert charged["power_term_eur"].sum() == pytest.approx(100 * 43.318 * 4 / 365, rel=1e-3)
    assert charged["total_eur"].tolist() == pytest.approx(
        charged.drop(columns="total_eur").sum(axis=1).tolist()
    )


def test_the_load_so_far_counts_within_its_months_only():
    index = hours("2026-02-10", 2)
    before = pd.Series(95.0, index=hours("2026-02-02", 1))
    january = pd.Series(95.0, index=hours("2026-01-12", 1))
    rule = excess_rule(index, sized(90.0), TARIFF, load_so_far=before)
    norm = dict(zip(rule.key % 6 + 1, rule.before, strict=True))
    assert norm[1] == pytest.approx(np.sqrt(4 * 9 * 25))  # nine hours of P1
    assert not excess_rule(index, sized(90.0), TARIFF, load_so_far=january).before.any()
    assert not excess_rule(index, sized(90.0), TARIFF).before.any()


@pytest.mark.parametrize("seed", range(2))
def test_no_other_contract_costs_a_load_less(seed):
    rng = np.random.default_rng(seed)
    index = hours("2026-06-01", 30)
    load = (
        pd.Series(rng.choice([20, 35, 52, 58], len(index), p=[0.6, 0.3, 0.08, 0.02]), index=index)
        * 1.0
    )
    best = best_contract(load, PLAIN, TARIFF, step_kw=10.0)
    prices = all_in(index, np.zeros(len(index)), TARIFF, PLAIN)

    def cost(kw: tuple[float, ...]) -> float:
        contract = structs.replace(PLAIN, kw=dict(zip(PERIODS, kw, strict=True)))
        charged = bill(load, prices, contract, TARIFF)
        return float(charged[["excess_eur", "power_term_eur"]].to_numpy().sum())

    # June has P3, P4 and P6: of the others the least that does not fall is best
    levels = [10.0 * n for n in range(1, 8)]
    tries = [(a, a, a, b, b, c) for a, b, c in itertools.combinations_with_replacement(levels, 3)]
    low = [(levels[0], levels[0], *kw[2:]) for kw in tries]
    cheapest = min(
        cost(kw) for kw in [*tries, *low, *[(10.0, 10.0, *kw[2:4], kw[3], kw[5]) for kw in tries]]
    )
    assert cost(best.by_period) <= cheapest + 1e-6
    assert list(best.by_period) == sorted(best.by_period)


@pytest.mark.parametrize(
    ("kw", "words"),
    [
        (dict.fromkeys(PERIODS[:3], 50.0), "needs P1"),
        ({**dict.fromkeys(PERIODS, 50.0), "P6": 40.0}, "must not fall"),
    ],
)
def test_an_unlawful_contract_is_refused(kw, words):
    with pytest.raises(ValueError, match=words):
        ContractSettings(kw=kw)


def test_local_dates_are_those_of_madrid():
    assert local_dates(pd.DatetimeIndex(["2026-07-14T22:00Z"]))[0] == np.datetime64("2026-07-15")
