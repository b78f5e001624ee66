"""The exact bill of a load, and the contracted power that it pays least with.

Excess power (Circular CNMC 3/2020, article 9), per period and month. Contracts up to 50
kW: rate × (highest quarter − contract) × days of the month. Larger ones: rate × square
root of the sum of the quarters' squared excess. Both are a rate times a norm of the
excess: the largest, or the Euclidean one.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import structs

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

# No rate of the rule above 50 kW was available for these years. In its place: the rate of the
# circular's first year, in proportion to the power toll of the periods, as the circular has it.
ASSUMED_EXCESS_EUR_KW = 1.4064
EXCESS_ASSUMPTION = (
    f"No rate of excess power above 50 kW is set: {ASSUMED_EXCESS_EUR_KW} EUR/kW in P1 (2021), "
    "and in proportion to the power toll in the other periods, is assumed."
)


@dataclass(frozen=True, eq=False)
class ExcessRule:
    """The excess rule of a contract on a grid of slots.

    ``key`` numbers month and period of each group of slots, ``group`` is the group of
    each slot; ``contract_kw`` and ``rate_eur`` belong to groups, and ``before``, the
    norm of the excess of an earlier part of the month. A slot's excess is ``weight``
    times its kilowatts: the root of its number of quarters.
    """

    key: Ints
    group: Ints
    contract_kw: Floats
    rate_eur: Floats
    small: bool
    weight: float
    before: Floats

    def over_kw(self, import_kw: Floats) -> Floats:
        """Return the kilowatts above the contract in each slot."""
        return np.maximum(0.0, import_kw - self.contract_kw[self.group])

    def norm(self, import_kw: Floats) -> Floats:
        """Return the norm of each group's excess, with that of an earlier part of the month."""
        total = self.before.copy()
        join = np.maximum if self.small else np.hypot
        join.at(total, self.group, self.weight * self.over_kw(import_kw))
        return total


def excess_rule(
    index: pd.DatetimeIndex,
    contract: ContractSettings,
    tariff: Tariff,
    *,
    small: bool | None = None,
    load_so_far: pd.Series | None = None,
) -> ExcessRule:
    """Return the excess rule of a contract.

    ``small`` chooses the rule against the contract's size; ``load_so_far`` are the
    kilowatts of an earlier part of the months.
    """
    small = contract.small if small is None else small
    month = local_dates(index).astype("datetime64[M]").astype(np.int64)
    key, group = np.unique(month * 6 + periods(index, tariff.access) - 1, return_inverse=True)
    months = (key // 6).astype("datetime64[M]")
    days = months.astype("datetime64[D]")
    if small:
        length = (months + 1).astype("datetime64[D]") - days
        rate = tariff.rates(days, EXCESS_TERM) * length.astype(float)[:, np.newaxis]
    else:
        toll = tariff.rates(days, POWER_TERMS[0])
        own = [contract.excess_eur_kw.get(period, np.nan) for period in PERIODS]
        rate = np.asarray(
            np.where(np.isnan(own), ASSUMED_EXCESS_EUR_KW * toll / toll[:, :1], own), float
        )
    before: Floats = np.zeros(len(key))
    if load_so_far is not None and len(load_so_far) > 1:
        earlier = excess_rule(pd.DatetimeIndex(load_so_far.index), contract, tariff)
        norm = pd.Series(earlier.norm(load_so_far.to_numpy(float)), index=earlier.key)
        before = np.asarray(norm.reindex(key, fill_value=0.0))
    return ExcessRule(
        key=key,
        group=group,
        contract_kw=np.array(contract.by_period)[key % 6],
        rate_eur=rate[np.arange(len(key)), key % 6],
        small=small,
        weight=1.0 if small else float(np.sqrt(_slot_s(index) / QUARTER_S)),
        before=before,
    )


def bill(
    import_kw: pd.Series, prices: pd.DataFrame, contract: ContractSettings, tariff: Tariff
) -> pd.DataFrame:
    """Return what a load costs by local month.

    Parameters
    ----------
    import_kw : Series
        Kilowatts by slot (hours or quarters), UTC index; gaps are allowed, a month's
        excess is that of its slots.
    prices : DataFrame
        :func:`factory_lib.domain.tariff.all_in` for every slot of the load.

    Returns
    -------
    DataFrame
        Index: month as ``YYYY-MM``; energy_eur (market), toll_eur (toll and charge),
        other_eur (contract terms), excess_eur, power_term_eur (of the days that the
        load touches), tax_eur, total_eur.
    """
    index = pd.DatetimeIndex(import_kw.index)
    days = local_dates(index)
    mwh = import_kw * _slot_s(index) / 3.6e6
    terms = ["market_eur_mwh", "toll_eur_mwh", "other_eur_mwh"]
    amounts = prices.reindex(index)[terms].mul(mwh, axis=0)
    amounts.columns = pd.Index(["energy_eur", "toll_eur", "other_eur"])
    result = amounts.groupby(_month(days)).sum().rename_axis("month")
    rule = excess_rule(index, contract, tariff)
    charged = pd.Series(rule.rate_eur * rule.norm(import_kw.to_numpy(float)))
    result["excess_eur"] = charged.groupby(_month(rule.key // 6)).sum()
    touched = np.unique(days)
    daily = pd.Series(power_eur_kw(touched, tariff) @ np.array(contract.by_period))
    result["power_term_eur"] = daily.groupby(_month(touched)).sum()
    result["tax_eur"] = result.sum(axis=1) * contract.electricity_tax_pct / 100
    return result.assign(total_eur=result.sum(axis=1))


def power_eur_kw(days: LocalDays, tariff: Tariff) -> Floats:
    """Return the power term of each local day (rows) and period, EUR/kW: its share of the year."""
    length = 365 + pd.DatetimeIndex(days).is_leap_year
    return tariff.rates(days, *POWER_TERMS) / length[:, np.newaxis]


def best_contract(
    import_kw: pd.Series, contract: ContractSettings, tariff: Tariff, *, step_kw: float = 1.0
) -> ContractSettings:
    """Return the contract whose power by period, not falling from P1 to P6, costs a load least.

    Both excess rules are tried, each for the sizes it holds for. Given a rule, the
    costs of the periods add up, so that the best sequence is exact by dynamic
    programming over the levels.

    Parameters
    ----------
    import_kw : Series
        Kilowatts by hour or quarter, UTC index, of the days the power term is counted
        for.
    step_kw : float
        Distance of the levels of contracted power.
    """
    index = pd.DatetimeIndex(import_kw.index)
    load = import_kw.to_numpy(float)
    levels = np.arange(step_kw, max(load.max(), SMALL_CONTRACT_KW) + 2 * step_kw, step_kw)
    power = np.outer(power_eur_kw(np.unique(local_dates(index)), tariff).sum(axis=0), levels)
    choices = []
    for small in (True, False):
        cost = power.copy()
        rule = excess_rule(index, contract, tariff, small=small)
        for n, kw in enumerate(levels):
            charged = replace(rule, contract_kw=0 * rule.contract_kw + kw).norm(load)
            cost[:, n] += np.bincount(rule.key % 6, rule.rate_eur * charged, 6)
        cost[-1, (levels <= SMALL_CONTRACT_KW) != small] = np.inf
        choices.append(_not_falling(cost))
    steps = min(choices)[1]
    return structs.replace(contract, kw=dict(zip(PERIODS, levels[steps].tolist(), strict=True)))


def _not_falling(cost: Floats) -> tuple[float, list[int]]:
    """Return the least sum of one entry of each row, at positions that do not fall."""
    totals = [np.zeros(cost.shape[1])]
    for row in cost:
        totals.append(np.minimum.accumulate(totals[-1]) + row)
    last = cost.shape[1] - 1
    steps: list[int] = []
    for total in totals[:0:-1]:
        last = int(np.argmin(total[: last + 1]))
        steps.insert(0, last)
    return float(totals[-1].min()), steps


def _slot_s(index: pd.DatetimeIndex) -> int:
    return int(np.diff(index.as_unit("s").asi8).min())


def _month(days: LocalDays | Ints) -> npt.NDArray[np.str_]:
    return days.astype("datetime64[M]").astype(str)
