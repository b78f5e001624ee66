"""The tariff calendar of the Spanish peninsula, and the whole price of energy.

Circular CNMC 3/2020 (BOE-A-2020-1066), in force since 2021-06-01. 2.0TD (up to 15 kW)
has three periods, 3.0TD and 6.1TD (above) have six; P1 is the most expensive, the
highest number the cheapest. Hours are local wall hours, and because Madrid's offset is a
whole number of hours, quarters and hours of UTC fall into one period each. The islands,
Ceuta and Melilla are not covered.

The price of a period is published once a year: tolls by the CNMC, charges by the
ministry. ``read_tariff`` reads the shipped table, ``all_in`` adds it and the contract's
terms to the market price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Floats, Ints
from factory_lib.errors import BadInput
from factory_lib.settings.tariff import PERIODS, ContractSettings

Access = Literal["2.0TD", "3.0TD", "6.1TD"]
LocalDays = npt.NDArray[np.datetime64]
ENERGY_TERMS = ("energy_toll_eur_mwh", "energy_charge_eur_mwh")
POWER_TERMS = ("power_toll_eur_kw_year", "power_charge_eur_kw_year")
EXCESS_TERM = "excess_eur_kw_day"
# Local hours 0…23 of a working day: V valley, S shoulder, P peak.
_HOURS_SIX = np.array(list("VVVVVVVVSPPPPPSSSSPPPPSS"))
_HOURS_THREE = np.array(list("VVVVVVVVSSPPPPSSSSPPPPSS"))
# Months 1…12: the period of the peak hours; the shoulder is the next one, the valley
# always P6.
_PEAK_PERIOD_BY_MONTH = np.array((1, 1, 2, 4, 4, 3, 1, 3, 3, 4, 2, 1))


@cache
def tariff_holidays(year: int) -> frozenset[date]:
    """Return the holidays that the tariff counts as weekend.

    They are national ones of fixed date, and 6 January, which the circular names
    although regions may replace it. A national day of the ``holidays`` library counts
    if the year after has it on the same month and day: that leaves out Good Friday,
    since Easter never repeats its date in the next year. Holidays moved to a Monday are
    left out by ``observed=False``, regional and local ones because no region is asked
    for.
    """
    days = holidays.country_holidays("ES", years=(year, year + 1), observed=False)
    fixed = {day for day in days if day.year == year and day.replace(year=year + 1) in days}
    return frozenset(fixed | {date(year, 1, 6)})


def periods(index: pd.DatetimeIndex, access: Access = "3.0TD") -> Ints:
    """Return the period number (1 is P1) of every slot that starts at ``index``.

    Parameters
    ----------
    index : DatetimeIndex
        Aware instants, in any order, of hours, quarters or anything shorter than an
        hour.
    access : {"2.0TD", "3.0TD", "6.1TD"}
        The access tariff; 3.0TD and 6.1TD share one calendar.

    Raises
    ------
    TypeError
        If ``index`` is naive.
    """
    local = index.tz_convert(MADRID)
    days, day_of_slot = np.unique(local_dates(index), return_inverse=True)
    free = [day.weekday() >= 5 or day in tariff_holidays(day.year) for day in days.tolist()]
    three = access == "2.0TD"
    part = (_HOURS_THREE if three else _HOURS_SIX)[local.hour]
    peak = 1 if three else _PEAK_PERIOD_BY_MONTH[local.month - 1]
    valley = np.array(free, bool)[day_of_slot] | (part == "V")
    return np.where(valley, 3 if three else 6, peak + (part == "S"))


def labels(numbers: Ints) -> "pd.Categorical[str]":
    """Return period numbers as the ordered labels P1…P6."""
    return pd.Categorical.from_codes(numbers - 1, categories=pd.Index(PERIODS), ordered=True)


def local_dates(index: pd.DatetimeIndex) -> LocalDays:
    """Return the local day of each slot."""
    return index.tz_convert(MADRID).tz_localize(None).to_numpy("datetime64[D]")


@dataclass(frozen=True, eq=False)
class Tariff:
    """Published tolls and charges of one access tariff.

    ``by_term`` holds, for each term, a frame of the dates it changed on and P1 … P6.
    Every term is given with ``year`` as of the middle of that year, whatever day is
    asked for.
    """

    access: Access
    by_term: Mapping[str, pd.DataFrame]
    year: int | None = None

    def rates(self, days: LocalDays, *terms: str) -> Floats:
        """Return a sum of terms for each local day (rows) and period P1 … P6 (columns).

        A day before the first or after the last published value has the nearest one.
        """
        frames = [self.by_term[term] for term in terms]
        return np.asarray(
            np.sum([frame.to_numpy(float)[self._rows(frame, days)] for frame in frames], axis=0)
        )

    def notes(self, days: LocalDays) -> tuple[str, ...]:
        """Return a line for each term that is not published for a year of ``days``.

        It names the year used instead.
        """
        lines = []
        for term, frame in self.by_term.items():
            since = pd.DatetimeIndex(frame.index[self._rows(frame, days)])
            given = pd.DatetimeIndex(days)
            other = (given.year != since.year) | (given < since)
            pairs = set(zip(given.year[other], since.year[other], strict=True))
            lines += [
                f"{term} of {self.access} {year}: the values of {published} are used, "
                "the nearest published year."
                for year, published in sorted(pairs)
            ]
        return tuple(lines)

    def _rows(self, frame: pd.DataFrame, days: LocalDays) -> Ints:
        if self.year is not None:
            days = np.full(len(days), np.datetime64(f"{self.year}-07-01"))
        return np.maximum(frame.index.searchsorted(days, side="right") - 1, 0)


def read_tariff(file: Path, access: Access = "3.0TD", *, year: int | None = None) -> Tariff:
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
    return Tariff(access, by_term, year)


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
        by_period = tariff.rates(local_dates(index), *ENERGY_TERMS)
        toll = by_period[np.arange(len(index)), periods(index, tariff.access) - 1]
    bought = market + (contract.adjustment_eur_mwh or 0.0) + (contract.capacity_eur_mwh or 0.0)
    losses = bought * (contract.losses_pct or 0.0) / 100
    other = bought + losses + (contract.margin_eur_mwh or 0.0) - market
    price = (market + toll + other) * (1 + contract.electricity_tax_pct / 100)
    columns = ("market_eur_mwh", "toll_eur_mwh", "other_eur_mwh", "price_eur_mwh")
    return pd.DataFrame(np.column_stack([market, toll, other, price]), index, columns)
