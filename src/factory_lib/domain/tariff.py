"""The tariff calendars of Spain and Portugal, and the whole price of energy.

P1 is the most expensive period, the highest number the cheapest. Spain (Circular CNMC
3/2020, BOE-A-2020-1066, in force since 2021-06-01): 2.0TD (up to 15 kW) has three,
3.0TD and 6.1TD (above) have six. Mainland Portugal (ERSE) has four: ponta, cheias,
vazio normal, super vazio. The hours of each area are shipped tables of local wall
time, in quarters where they need it, by season and kind of day.

In Spain the price of a period is published once a year: tolls by the CNMC, charges by
the ministry. ``read_tariff`` reads the shipped table, ``own_tariff`` takes a contract's
own tolls, ``all_in`` adds them and the contract's terms to the market price.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import structs

from factory_lib.clock import MADRID, QUARTER_S
from factory_lib.domain.plant import Floats, Ints
from factory_lib.errors import BadInput
from factory_lib.settings import ROOT
from factory_lib.settings.tariff import PERIODS, SMALL_CONTRACT_KW, ContractSettings

Access = Literal["2.0TD", "3.0TD", "6.1TD"]
LocalDays = npt.NDArray[np.datetime64]
ENERGY_TERMS = ("energy_toll_eur_mwh", "energy_charge_eur_mwh")
POWER_TERMS = ("power_toll_eur_kw_year", "power_charge_eur_kw_year")
EXCESS_TERM = "excess_eur_kw_day"
CALENDARS = ROOT / "config"  # periods_*.csv
PENINSULA = "peninsula"
DAY_KINDS = ("working", "sat", "sun", "holiday")
SEASONS = {
    "year": range(24),
    "winter": range(12),
    "summer": range(12, 24),  # months of summer time
    **{str(month): (month - 1, month + 11) for month in range(1, 13)},
}


@cache
def tariff_holidays(year: int, country: str = "ES") -> frozenset[date]:
    """Return the holidays that the tariff of a country counts apart; none of no country.

    In Spain they are national ones of fixed date, and 6 January, which the circular names
    although regions may replace it. A national day of the ``holidays`` library counts
    if the year after has it on the same month and day: that leaves out Good Friday,
    since Easter never repeats its date in the next year. Holidays moved to a Monday are
    left out by ``observed=False``, regional and local ones because no region is asked
    for. In Portugal they are the national ones, Good Friday and Corpus Christi too.
    """
    if not country:
        return frozenset()
    days = holidays.country_holidays(country, years=(year, year + 1), observed=False)
    if country != "ES":
        return frozenset(day for day in days if day.year == year)
    fixed = {day for day in days if day.year == year and day.replace(year=year + 1) in days}
    return frozenset(fixed | {date(year, 1, 6)})


@dataclass(frozen=True, eq=False)
class Calendar:
    """The periods of an area.

    ``numbers`` are those of each version (in force from ``since`` on), month (of winter
    time, then of summer time), kind of day (``DAY_KINDS``) and quarter of the day in ``zone``.
    ``holidays`` is the country whose holidays are a kind of their own. After ``until`` the
    last version is known to be out of date.
    """

    zone: str
    holidays: str
    since: LocalDays
    until: np.datetime64
    numbers: Ints

    def kind(self, day: date) -> int:
        """Return which of ``DAY_KINDS`` a day is."""
        if day in tariff_holidays(day.year, self.holidays):
            return DAY_KINDS.index("holiday")
        return max(0, day.weekday() - 4)


@cache
def period_table(area: str, *, three: bool) -> Calendar:
    """Return the shipped calendar of an area; of three periods where it has one of them."""
    files = sorted(CALENDARS.glob("periods_*.csv"))
    table = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files])
    table = table[table["area"] == area]
    sizes = table["periods"].astype(int)
    table = table[sizes == (sizes.min() if three else sizes.max())]
    since = sorted(table["since"].unique())
    numbers = np.zeros((len(since), 24, len(DAY_KINDS), 96), np.int64)
    for row in table.to_dict("records"):
        months = sorted({number for name in row["season"].split() for number in SEASONS[name]})
        kinds = [DAY_KINDS.index(name) for name in row["days"].split()]
        quarters = np.repeat([int(digit) for digit in row["hours"]], 96 // len(row["hours"]))
        numbers[np.ix_([since.index(row["since"])], months, kinds)] = quarters
    until = max(table.loc[table["since"] == since[-1], "until"])
    return Calendar(
        zone=table["zone"].iloc[0],
        holidays=table["holidays"].iloc[0],
        since=np.array(since, "datetime64[D]"),
        until=np.datetime64(until or "9999-12-31"),
        numbers=numbers,
    )


def zone_of(area: str) -> ZoneInfo:
    """Return the time zone of an area's days and hours."""
    return ZoneInfo(period_table(area, three=False).zone)


def periods(index: pd.DatetimeIndex, access: Access = "3.0TD", area: str = PENINSULA) -> Ints:
    """Return the period number (1 is P1) at every instant of ``index``.

    Parameters
    ----------
    index : DatetimeIndex
        Aware instants, in any order: the starts of quarters or, where the area's periods
        begin with hours, of hours.
    access : {"2.0TD", "3.0TD", "6.1TD"}
        The access tariff; 3.0TD and 6.1TD share one calendar. Without meaning in Portugal.
    area : str
        Of ``settings.tariff.TariffSettings.area``.

    Raises
    ------
    TypeError
        If ``index`` is naive.
    """
    table = period_table(area, three=access == "2.0TD")
    local = index.tz_convert(table.zone)
    wall = local.tz_localize(None)
    winter_offset = pd.Timestamp("2026-01-01", tz=table.zone).utcoffset()
    summer = np.asarray(wall - index.tz_convert(None) != winter_offset)
    days, day_of_slot = np.unique(wall.to_numpy("datetime64[D]"), return_inverse=True)
    kinds = np.array([table.kind(day) for day in days.tolist()], np.int64)
    versions = np.maximum(table.since.searchsorted(days, side="right") - 1, 0)
    quarter = local.hour * 4 + local.minute // 15
    position = versions[day_of_slot], local.month - 1 + 12 * summer, kinds[day_of_slot], quarter
    return np.asarray(table.numbers[position])


def labels(numbers: Ints) -> "pd.Categorical[str]":
    """Return period numbers as the ordered labels P1…P6."""
    return pd.Categorical.from_codes(numbers - 1, categories=pd.Index(PERIODS), ordered=True)


def local_dates(index: pd.DatetimeIndex, zone: ZoneInfo = MADRID) -> LocalDays:
    """Return the local day of each slot."""
    return index.tz_convert(zone).tz_localize(None).to_numpy("datetime64[D]")


@dataclass(frozen=True, eq=False)
class Tariff:
    """Tolls and charges of one access tariff.

    ``by_term`` holds, for each term, a frame of the dates it changed on and P1 … P6.
    Every term is given with ``year`` as of the middle of that year, whatever day is
    asked for. ``published`` is False of a contract's own tolls.
    """

    access: Access
    by_term: Mapping[str, pd.DataFrame]
    year: int | None = None
    area: str = PENINSULA
    published: bool = True

    def rates(self, days: LocalDays, *terms: str) -> Floats:
        """Return a sum of terms for each local day (rows) and period P1 … P6 (columns).

        A day before the first or after the last published value has the nearest one.
        """
        frames = [self.by_term[term] for term in terms]
        return np.asarray(
            np.sum([frame.to_numpy(float)[self._rows(frame, days)] for frame in frames], axis=0)
        )

    def notes(self, days: LocalDays) -> tuple[str, ...]:
        """Return what is known of the tariff on ``days`` and not as it should be.

        A line for each term that is not published for a year, with the year used instead.
        """
        until = period_table(self.area, three=False).until
        lines = [
            f"The periods of {self.area} are known until {until} alone: those of that day are "
            f"used. Put the new ones into config/periods_*.csv."
        ] * bool((days > until).any())
        if not self.published:
            return (*lines, OWN_TOLLS.format(area=self.area))
        for term, frame in self.by_term.items():
            since = frame.index[self._rows(frame, days)]
            pairs = zip(pd.DatetimeIndex(days), since, strict=True)
            other = {(day.year, of.year) for day, of in pairs if day.year != of.year or day < of}
            lines += [
                f"{term} of {self.access} {year}: the values of {published} are used, "
                "the nearest published year."
                for year, published in sorted(other)
            ]
        return tuple(lines)

    def _rows(self, frame: pd.DataFrame, days: LocalDays) -> Ints:
        if self.year is not None:
            days = np.full(len(days), np.datetime64(f"{self.year}-07-01"))
        return np.maximum(frame.index.searchsorted(days, side="right") - 1, 0)


def read_tariff(
    file: Path, access: Access = "3.0TD", *, year: int | None = None, area: str = PENINSULA
) -> Tariff:
    """Read the published terms of an access tariff from the shipped table.

    Raises
    ------
    BadInput
        If the table has no rows of ``access``: 2.0TD is paid through PVPC, which
        contains its tolls.
    """
    table = pd.read_csv(file, parse_dates=["since"]).query("access == @access")
    if table.empty:
        raise BadInput(
            f"{file} has no tolls of {access}.", next_step="Set tariff.access to 3.0TD or 6.1TD."
        )
    by_term = {
        term: table.pivot(index="since", columns="period", values=term)[list(PERIODS)].dropna()
        for term in (*ENERGY_TERMS, *POWER_TERMS, EXCESS_TERM)
    }
    return Tariff(access, by_term, year, area)


OWN_TOLLS = (
    "Tolls of {area} are not shipped: those of contract.toll_eur_mwh count, 0 where unset, "
    "without power term and excess power."
)


def own_tariff(toll_eur_mwh: Mapping[str, float], area: str) -> Tariff:
    """Return the tariff of a contract's own tolls and charges by period, 0 where unset."""
    nothing = pd.DataFrame(0.0, pd.DatetimeIndex(["2000-01-01"]), list(PERIODS))
    toll = nothing.assign(**toll_eur_mwh)
    by_term = dict.fromkeys((*ENERGY_TERMS, *POWER_TERMS, EXCESS_TERM), nothing)
    return Tariff("3.0TD", by_term | {ENERGY_TERMS[0]: toll}, None, area, published=False)


def all_in(
    index: pd.DatetimeIndex,
    market_eur_mwh: npt.ArrayLike,
    tariff: Tariff | None,
    contract: ContractSettings,
) -> pd.DataFrame:
    """Return the whole marginal price of energy by slot, and what it consists of.

    Parameters
    ----------
    tariff : Tariff, optional
        None where the market price contains its tolls (PVPC).

    Returns
    -------
    DataFrame
        On ``index``: ``market_eur_mwh``, ``toll_eur_mwh`` (toll and charge),
        ``other_eur_mwh`` (losses, adjustment, capacity, margin) and ``price_eur_mwh``,
        their sum with the electricity tax.
    """
    market = np.asarray(market_eur_mwh, dtype=np.float64)
    toll = np.zeros(len(index))
    if tariff is not None:
        quarters = _quarters(index)  # an hour may have more than one period
        by_period = tariff.rates(local_dates(quarters, zone_of(tariff.area)), *ENERGY_TERMS)
        number = periods(quarters, tariff.access, tariff.area)
        tolls = by_period[np.arange(len(quarters)), number - 1]
        toll = tolls.reshape(len(index), -1).mean(axis=1)
    bought = market + (contract.adjustment_eur_mwh or 0.0) + (contract.capacity_eur_mwh or 0.0)
    losses = bought * (contract.losses_pct or 0.0) / 100
    other = bought + losses + (contract.margin_eur_mwh or 0.0) - market
    price = (market + toll + other) * (1 + contract.electricity_tax_pct / 100)
    columns = ("market_eur_mwh", "toll_eur_mwh", "other_eur_mwh", "price_eur_mwh")
    return pd.DataFrame(np.column_stack([market, toll, other, price]), index, columns)


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
    month = local_dates(index, zone_of(tariff.area)).astype("datetime64[M]").astype(np.int64)
    key, group = np.unique(
        month * 6 + periods(index, tariff.access, tariff.area) - 1, return_inverse=True
    )
    months = (key // 6).astype("datetime64[M]")
    days = months.astype("datetime64[D]")
    if small:
        length = (months + 1).astype("datetime64[D]") - days
        rate = tariff.rates(days, EXCESS_TERM) * length.astype(float)[:, np.newaxis]
    else:
        toll = tariff.rates(days, POWER_TERMS[0])
        own = [contract.excess_eur_kw.get(period, np.nan) for period in PERIODS]
        share = toll / np.where(toll[:, :1] > 0, toll[:, :1], 1.0)
        rate = np.asarray(np.where(np.isnan(own), ASSUMED_EXCESS_EUR_KW * share, own), float)
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
    days = local_dates(index, zone_of(tariff.area))
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

    Without a power term it is the contract itself. Both excess rules are tried, each for
    the sizes it holds for. Given a rule, the costs of the periods add up, so that the
    best sequence is exact by dynamic programming over the levels.

    Parameters
    ----------
    import_kw : Series
        Kilowatts by hour or quarter, UTC index, of the days the power term is counted
        for.
    step_kw : float
        Distance of the levels of contracted power.
    """
    if not tariff.published:
        return contract
    index = pd.DatetimeIndex(import_kw.index)
    load = import_kw.to_numpy(float)
    levels = np.arange(step_kw, max(load.max(), SMALL_CONTRACT_KW) + 2 * step_kw, step_kw)
    days = np.unique(local_dates(index, zone_of(tariff.area)))
    power = np.outer(power_eur_kw(days, tariff).sum(axis=0), levels)
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


def _quarters(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return the starts of the quarters of each slot; a single instant is a quarter."""
    number = max(1, _slot_s(index) // QUARTER_S) if len(index) > 1 else 1
    return index.repeat(number) + pd.to_timedelta(
        np.tile(np.arange(number), len(index)) * QUARTER_S, unit="s"
    )


def _slot_s(index: pd.DatetimeIndex) -> int:
    return int(np.diff(index.as_unit("s").asi8).min())


def _month(days: LocalDays | Ints) -> npt.NDArray[np.str_]:
    return days.astype("datetime64[M]").astype(str)
