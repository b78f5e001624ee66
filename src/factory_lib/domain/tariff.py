"""The tariff calendar of the Spanish peninsula: which period an instant falls in.

Circular CNMC 3/2020 (BOE-A-2020-1066), in force since 2021-06-01. 2.0TD (up to 15 kW) has three periods, 3.0TD and
6.1TD (above) have six; P1 is the dearest, the highest number the cheapest. Hours are local wall hours, and because
Madrid's offset is a whole number of hours, quarters and hours of UTC fall into one period each. The islands, Ceuta and
Melilla are not covered.

What a period costs is published once a year: tolls by the CNMC, charges by the ministry. ``read_tariff`` reads the
shipped table, ``all_in`` adds it and the contract's terms to the market price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from factory_lib.errors import BadInput
from factory_lib.settings.tariff import PERIODS, ContractSettings

Access = Literal["2.0TD", "3.0TD", "6.1TD"]
Periods = np.ndarray[tuple[int], np.dtype[np.int8]]
Floats = npt.NDArray[np.float64]

# Local hours 0…23 of a working day: V valley, S shoulder, P peak.
_HOURS_SIX = "VVVVVVVVSPPPPPSSSSPPPPSS"
_HOURS_THREE = "VVVVVVVVSSPPPPSSSSPPPPSS"
# Months 1…12: the period of the peak hours; the shoulder is the next one, the valley
# always P6.
_PEAK_PERIOD_BY_MONTH = (1, 1, 2, 4, 4, 3, 1, 3, 3, 4, 2, 1)
_LABELS = pd.Index([f"P{n}" for n in range(1, 7)])
_EPIPHANY = (
    1,
    6,
)  # named by the circular beside the national holidays, although regions may replace it


@cache
def tariff_holidays(year: int) -> frozenset[date]:
    """Return the holidays that the tariff counts as weekend: national, of fixed date, and 6 January.

    The one rule: a national day of the ``holidays`` library counts if the year after
    has it on the same month and day, which leaves out Good Friday, since Easter never
    repeats its date in the next year. LocalDays moved to a Monday are left out by
    ``observed=False``, regional and local ones because no region is asked for.
    """
    this, following = (
        {(d.month, d.day) for d in holidays.country_holidays("ES", years=y, observed=False)}
        for y in (year, year + 1)
    )
    return frozenset(date(year, month, day) for month, day in (this & following) | {_EPIPHANY})


def is_holiday(days: Iterable[date]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return for each local day whether the tariff treats it as a holiday: Saturday, Sunday or ``tariff_holidays``."""
    return np.array(
        [day.weekday() >= 5 or day in tariff_holidays(day.year) for day in days], dtype=np.bool_
    )


def periods(index: pd.DatetimeIndex, access: Access = "3.0TD") -> Periods:
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
    if index.tz is None:
        raise TypeError("naive timestamps: localise them first")
    local = index.tz_convert(MADRID)
    table = _table(access)
    days, day_of_slot = np.unique(
        local.tz_localize(None).to_numpy("datetime64[D]"), return_inverse=True
    )
    free = is_holiday(days.tolist())[day_of_slot] if len(days) else np.empty(0, dtype=np.bool_)
    valley = table[0, 0]
    chosen: Periods = np.where(
        free, valley, table[local.month.to_numpy() - 1, local.hour.to_numpy()]
    ).astype(np.int8)
    return chosen


def labels(numbers: Periods) -> pd.Categorical[str]:
    """Return period numbers as the ordered labels P1…P6."""
    return pd.Categorical.from_codes(numbers.astype(np.int64) - 1, categories=_LABELS, ordered=True)


ENERGY_TERMS = ("energy_toll_eur_mwh", "energy_charge_eur_mwh")
POWER_TERMS = ("power_toll_eur_kw_year", "power_charge_eur_kw_year")
EXCESS_TERM = "excess_eur_kw_day"
LocalDays = npt.NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Tariff:
    """Published tolls and charges of one access tariff.

    ``by_term`` holds, for each term, a frame of the dates it changed on and P1 … P6. Every term is given with ``year``
    as of the middle of that year, whatever day is asked for.
    """

    access: Access
    by_term: Mapping[str, pd.DataFrame]
    year: int | None = None

    def rates(self, term: str, days: LocalDays) -> Floats:
        """Return a term for each local day (rows) and period P1 … P6 (columns).

        A day before the first or after the last published value has the nearest one.
        """
        frame = self.by_term[term]
        return frame.to_numpy(float)[self._rows(frame, days)]

    def power_eur_kw_year(self, days: LocalDays) -> Floats:
        """Return toll and charge of the power term for each local day and period."""
        return self.rates(POWER_TERMS[0], days) + self.rates(POWER_TERMS[1], days)

    def notes(self, days: LocalDays) -> tuple[str, ...]:
        """Return a line for each term that is not published for a year of ``days``, naming the year used instead."""
        lines = []
        for term, frame in self.by_term.items():
            used = frame.index.to_numpy("datetime64[D]")[self._rows(frame, days)]
            years = np.column_stack(
                [part.astype("datetime64[Y]").astype(int) + 1970 for part in (days, used)]
            )
            lines += [
                f"{term} of {self.access} {wanted}: the values of {published} are used, the nearest published year."
                for wanted, published in np.unique(
                    years[(years[:, 0] != years[:, 1]) | (days < used)], axis=0
                )
            ]
        return tuple(lines)

    def _rows(self, frame: pd.DataFrame, days: LocalDays) -> npt.NDArray[np.intp]:
        if self.year is not None:
            days = np.full(len(days), np.datetime64(f"{self.year}-07-01"))
        since = frame.index.to_numpy("datetime64[D]")
        return np.maximum(np.searchsorted(since, days, side="right") - 1, 0)


def read_tariff(file: Path, access: Access = "3.0TD", *, year: int | None = None) -> Tariff:
    """Read the published terms of an access tariff from the shipped table.

    Raises
    ------
    BadInput
        If the table has no rows of ``access``: 2.0TD is paid through PVPC, which contains its tolls.
    """
    table = pd.read_csv(file, parse_dates=["since"])
    table = table[table["access"] == access]
    if table.empty:
        raise BadInput(
            f"{file} has no tolls of {access}.", next_step="Set tariff.access to 3.0TD or 6.1TD."
        )
    by_term = {
        term: table.pivot(index="since", columns="period", values=term)[list(PERIODS)].dropna()
        for term in (*ENERGY_TERMS, *POWER_TERMS, EXCESS_TERM)
    }
    return Tariff(access, by_term, year)


def local_dates(index: pd.DatetimeIndex) -> LocalDays:
    """Return the local day of each slot."""
    return index.tz_convert(MADRID).tz_localize(None).to_numpy("datetime64[D]")


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
        On ``index``: ``market_eur_mwh``, ``toll_eur_mwh`` (toll and charge), ``other_eur_mwh`` (losses, adjustment,
        capacity, margin) and ``price_eur_mwh``, their sum with the electricity tax.
    """
    market = np.asarray(market_eur_mwh, dtype=np.float64)
    toll = np.zeros(len(index))
    if tariff is not None:
        days = local_dates(index)
        by_period = tariff.rates(ENERGY_TERMS[0], days) + tariff.rates(ENERGY_TERMS[1], days)
        toll = by_period[np.arange(len(index)), periods(index, tariff.access) - 1]
    bought = market + (contract.adjustment_eur_mwh or 0.0) + (contract.capacity_eur_mwh or 0.0)
    other = (
        bought * (1 + (contract.losses_pct or 0.0) / 100)
        + (contract.margin_eur_mwh or 0.0)
        - market
    )
    price = (market + toll + other) * (1 + contract.electricity_tax_pct / 100)
    columns = {
        "market_eur_mwh": market,
        "toll_eur_mwh": toll,
        "other_eur_mwh": other,
        "price_eur_mwh": price,
    }
    return pd.DataFrame(columns, index=index)


@cache
def _table(access: Access) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """Return the period of a working day by month (rows 0…11) and local hour (columns 0…23)."""
    if access == "2.0TD":
        one_day = [{"P": 1, "S": 2, "V": 3}[mark] for mark in _HOURS_THREE]
        return np.array([one_day] * 12, dtype=np.int8)
    by_month = [{"P": peak, "S": peak + 1, "V": 6} for peak in _PEAK_PERIOD_BY_MONTH]
    return np.array([[month[mark] for mark in _HOURS_SIX] for month in by_month], dtype=np.int8)
