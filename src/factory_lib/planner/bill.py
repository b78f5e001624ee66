"""The exact bill of a load, and the contracted power it pays least with.

Excess power (Circular CNMC 3/2020, article 9), per period and month. Contracts up to 50 kW: rate × (highest quarter −
contract) × days of the month. Larger ones: rate × square root of the sum of the quarters' squared excess. Both are a
rate times a norm of the excess: the largest, or the Euclidean one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from factory_lib.clock import QUARTER_S
from factory_lib.domain.plant import Floats, Ints
from factory_lib.domain.tariff import (
    EXCESS_TERM,
    POWER_TERMS,
    LocalDays,
    Tariff,
    local_dates,
    periods,
)
from factory_lib.settings.tariff import PERIODS, SMALL_CONTRACT_KW, ContractSettings

# No rate of the rule above 50 kW was found for these years. In its place: the rate of the circular's first year, in
# proportion to the power toll of the periods, as the circular has it.
ASSUMED_EXCESS_EUR_KW = 1.4064
EXCESS_ASSUMPTION = (
    f"No rate of excess power above 50 kW is set: {ASSUMED_EXCESS_EUR_KW} EUR/kW in P1 (2021), and in proportion to "
    "the power toll in the other periods, is assumed."
)


@dataclass(frozen=True, eq=False)
class ExcessRule:
    """The excess rule of a contract on a grid of slots.

    ``key`` numbers month and period of each group of slots, ``group`` is the group of each slot; ``contract_kw`` and
    ``rate_eur`` belong to groups. A slot's excess is ``weight`` times its kilowatts: the root of its quarters.
    """

    key: Ints
    group: Ints
    contract_kw: Floats
    rate_eur: Floats
    small: bool
    weight: float

    def over_kw(self, import_kw: Floats) -> Floats:
        """Return the kilowatts above the contract in each slot."""
        return np.maximum(0.0, import_kw - self.contract_kw[self.group])

    def norm(self, import_kw: Floats, before: Floats | float = 0.0) -> Floats:
        """Return the norm of each group's excess, together with that of an earlier part of the month."""
        total = np.zeros(len(self.key)) + before
        join = np.maximum if self.small else np.hypot
        join.at(total, self.group, self.weight * self.over_kw(import_kw))
        return total


def excess_rule(
    index: pd.DatetimeIndex,
    contract: ContractSettings,
    tariff: Tariff,
    *,
    small: bool | None = None,
) -> ExcessRule:
    """Return the excess rule of a contract for slots of one length; ``small`` chooses one against its size."""
    small = contract.small if small is None else small
    month = local_dates(index).astype("datetime64[M]").astype(np.int64)
    key, group = np.unique(month * 6 + periods(index, tariff.access) - 1, return_inverse=True)
    months = (key // 6).astype("datetime64[M]")
    days = months.astype("datetime64[D]")
    if small:
        length = (months + 1).astype("datetime64[D]") - days
        rate = tariff.rates(EXCESS_TERM, days) * length.astype(float)[:, None]
    elif contract.excess_eur_kw:
        rate = np.tile([contract.excess_eur_kw[name] for name in PERIODS], (len(key), 1))
    else:
        toll = tariff.rates(POWER_TERMS[0], days)
        rate = ASSUMED_EXCESS_EUR_KW * toll / toll[:, :1]
    contract_kw = np.array(contract.by_period)[key % 6]
    weight = 1.0 if small else np.sqrt(slot_length_s(index) / QUARTER_S)
    return ExcessRule(key, group, contract_kw, rate[np.arange(len(key)), key % 6], small, weight)


def slot_length_s(index: pd.DatetimeIndex) -> int:
    """Return the length of a slot of an index, which may have gaps."""
    return int(np.diff(index.as_unit("s").asi8).min())


def norm_so_far(
    rule: ExcessRule, load_so_far: pd.Series | None, contract: ContractSettings, tariff: Tariff
) -> Floats:
    """Return the norm that an earlier load of the same months has already made, for each group of ``rule``."""
    if load_so_far is None or len(load_so_far) < 2:
        return np.zeros(len(rule.key))
    earlier = excess_rule(pd.DatetimeIndex(load_so_far.index), contract, tariff)
    norm = pd.Series(earlier.norm(load_so_far.to_numpy(float)), index=earlier.key)
    return np.asarray(norm.reindex(rule.key, fill_value=0.0))


def bill(
    import_kw: pd.Series, prices: pd.DataFrame, contract: ContractSettings, tariff: Tariff
) -> pd.DataFrame:
    """Return what a load costs by local month.

    Parameters
    ----------
    import_kw : Series
        Kilowatts by slot (hours or quarters), UTC index; gaps are allowed, a month's excess is that of its slots.
    prices : DataFrame
        :func:`factory_lib.domain.tariff.all_in` for every slot of the load.

    Returns
    -------
    DataFrame
        Index: month as ``YYYY-MM``; energy_eur (market), toll_eur (toll and charge), other_eur (contract terms),
        excess_eur, power_term_eur (of the days that the load touches), tax_eur, total_eur.
    """
    index, load = pd.DatetimeIndex(import_kw.index), import_kw.to_numpy(float)
    days = local_dates(index)
    mwh = load * slot_length_s(index) / 3.6e6
    amounts = prices.reindex(index)[["market_eur_mwh", "toll_eur_mwh", "other_eur_mwh"]].mul(
        mwh, axis=0
    )
    result = amounts.groupby(days.astype("datetime64[M]").astype(str)).sum().rename_axis("month")
    result.columns = pd.Index(["energy_eur", "toll_eur", "other_eur"])
    rule = excess_rule(index, contract, tariff)
    month = (rule.key // 6).astype("datetime64[M]").astype(str)
    result["excess_eur"] = pd.Series(rule.rate_eur * rule.norm(load)).groupby(month).sum()
    touched = np.unique(days)
    daily = pd.Series(power_eur_kw(touched, tariff) @ np.array(contract.by_period))
    result["power_term_eur"] = daily.groupby(touched.astype("datetime64[M]").astype(str)).sum()
    result["tax_eur"] = result.sum(axis=1) * contract.electricity_tax_pct / 100
    result["total_eur"] = result.sum(axis=1)
    return result


def power_eur_kw(days: LocalDays, tariff: Tariff) -> Floats:
    """Return the power term of each local day (rows) and period, EUR per kW: the day's share of its year."""
    years = days.astype("datetime64[Y]")
    length = (years + 1).astype("datetime64[D]") - years.astype("datetime64[D]")
    return np.asarray(tariff.power_eur_kw_year(days) / length.astype(float)[:, None])


def best_contract(
    import_kw: pd.Series, contract: ContractSettings, tariff: Tariff, *, step_kw: float = 1.0
) -> ContractSettings:
    """Return the contract whose power by period, not falling from P1 to P6, costs a load least.

    Both excess rules are tried, each for the sizes it holds for. Given a rule, the costs of the periods add up, so that
    the best sequence is found exactly by dynamic programming over steps of ``step_kw``.

    Parameters
    ----------
    import_kw : Series
        Kilowatts by hour or quarter, UTC index, of the days that the power term is counted for.
    """
    index, load = pd.DatetimeIndex(import_kw.index), import_kw.to_numpy(float)
    power = power_eur_kw(np.unique(local_dates(index)), tariff).sum(axis=0)
    levels = np.arange(step_kw, max(load.max(), SMALL_CONTRACT_KW) + 2 * step_kw, step_kw)
    best_eur, best = np.inf, contract
    for small in (True, False):
        rule = excess_rule(index, contract, tariff, small=small)
        cost = np.empty((6, len(levels)))
        for n, kw in enumerate(levels):
            sized = replace(rule, contract_kw=np.full(len(rule.key), kw))
            cost[:, n] = power * kw + np.bincount(rule.key % 6, rule.rate_eur * sized.norm(load), 6)
        cost[:, small & (levels > SMALL_CONTRACT_KW)] = np.inf
        cost[5, ~small & (levels <= SMALL_CONTRACT_KW)] = np.inf
        eur, steps = _not_falling(cost)
        if eur < best_eur:
            best_eur, best = (
                eur,
                replace(contract, kw=dict(zip(PERIODS, levels[steps].tolist(), strict=True))),
            )
    return best


def _not_falling(cost: Floats) -> tuple[float, list[int]]:
    """Return the least sum of one entry of each row whose positions do not fall, and the positions."""
    total, choices = np.zeros(cost.shape[1]), []
    for row in cost:
        total = total + row
        lowest = np.minimum.accumulate(total)
        choices.append(np.maximum.accumulate(np.where(total == lowest, np.arange(len(total)), 0)))
        total = lowest
    steps = [int(choices[-1][-1])]
    for choice in reversed(choices[:-1]):
        steps.insert(0, int(choice[steps[0]]))
    return float(total[-1]), steps
