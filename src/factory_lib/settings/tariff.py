"""The price of a kWh beside the market price; nothing is set by default.

Regulated prices change by law, most of them on 1 January, so each has the local days it
holds for. A day that none holds for has no known price, which is not a price of zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Literal

from msgspec import field

from factory_lib.settings.loading import Section

PERIODS = ("P1", "P2", "P3", "P4", "P5", "P6")


class Valid(Section, frozen=True, kw_only=True):
    """A validity: the local days from ``since`` up to, not including, ``until``.

    Without ``until`` it holds on all later days.
    """

    since: date
    until: date | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.since:
            raise ValueError(f"until {self.until} must be after since {self.since}")


class Tolls(Valid, frozen=True, kw_only=True):
    """Tolls and charges of the energy term by tariff period (P1…P6), EUR/MWh."""

    eur_mwh: Mapping[str, float]

    @property
    def label(self) -> str:
        """The name under which no two entries may overlap."""
        return "tolls"


class Tax(Valid, frozen=True, kw_only=True):
    """A tax: a ``share`` of market price and tolls, not of other taxes, or ``eur_mwh``."""

    name: str
    share: float | None = None
    eur_mwh: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.share is None) == (self.eur_mwh is None):
            raise ValueError(f"{self.name}: give share or eur_mwh, one of them")
        if self.share is not None and not 0 <= self.share < 1:
            raise ValueError(f"{self.name}: share is a fraction, 0.05 for 5 %")

    @property
    def label(self) -> str:
        """The name under which no two entries may overlap."""
        return f"taxes {self.name}"


class TariffSettings(Section, frozen=True):
    """Price basis, access tariff, and what comes on top of the basis.

    Attributes
    ----------
    price_basis : {"spot", "pvpc"}
        PVPC is regulated for contracts up to 10 kW and contains the tolls of 2.0TD;
        here it is a public proxy.
    access : {"2.0TD", "3.0TD", "6.1TD"}
        Whose calendar the periods follow.
    year : int, optional
        Take every published toll and charge from this year, for studies over other years.
    tolls, taxes : tuple
        With their days of validity; empty by default: every euro is then of the price
        basis alone.
    """

    price_basis: Literal["spot", "pvpc"] = "spot"
    access: Literal["2.0TD", "3.0TD", "6.1TD"] = "3.0TD"
    year: int | None = None
    tolls: tuple[Tolls, ...] = ()
    taxes: tuple[Tax, ...] = ()

    def __post_init__(self) -> None:
        periods = set(PERIODS[:3] if self.access == "2.0TD" else PERIODS)
        if [toll for toll in self.tolls if set(toll.eur_mwh) != periods]:
            raise ValueError(f"tolls of {self.access} need eur_mwh of {', '.join(sorted(periods))}")
        if self.tolls and self.price_basis == "pvpc":
            raise ValueError("pvpc contains its tolls: set none, or choose price_basis = 'spot'")
        if self.taxes and (self.price_basis, self.tolls) == ("spot", ()):
            raise ValueError("taxes are on price and tolls: set tolls too")
        _refuse_overlap((*self.tolls, *self.taxes))

    @property
    def counted(self) -> str:
        """The contents of an amount in this tariff, in words."""
        regulated = self.price_basis == "pvpc"
        parts = ["energy with the tolls of PVPC" if regulated else "energy"]
        parts += ["tolls"] * bool(self.tolls) + list(dict.fromkeys(tax.name for tax in self.taxes))
        if len(parts) > 1:
            return f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{parts[0]} only, {'taxes' if regulated else 'tolls'} are not set"


def _refuse_overlap(entries: Sequence[Tolls | Tax]) -> None:
    """Raise ``ValueError`` where two entries of one label hold for the same day."""
    ordered = sorted(entries, key=lambda entry: (entry.label, entry.since))
    for earlier, later in pairwise(ordered):
        overlap = earlier.until is None or earlier.until > later.since
        if overlap and earlier.label == later.label:
            raise ValueError(
                f"{later.label} since {earlier.since} overlap those since {later.since}: set until"
            )


SMALL_CONTRACT_KW = 50.0  # up to it, metering of types 4 and 5 (Circular CNMC 3/2020)


class ContractSettings(Section, frozen=True):
    """The supply contract: power by period and what the retailer adds to the market price.

    Attributes
    ----------
    kw : mapping
        Contracted power by period, kW; the law wants it not to fall from P1 to P6.
    margin_eur_mwh, adjustment_eur_mwh, capacity_eur_mwh, losses_pct : float, optional
        Retailer's margin, adjustment services, capacity payments, and the network
        losses that market price, adjustment and capacity are paid for too. Unset means
        not counted.
    electricity_tax_pct : float
        Share of energy, tolls, charges, power and excess (5.11269632 %, Ley 38/1992,
        article 99).
    excess_eur_kw : mapping
        Rate of the excess rule above 50 kW by period, EUR per kW; empty: a stated
        assumption.
    """

    kw: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PERIODS, 150.0))
    margin_eur_mwh: float | None = None
    adjustment_eur_mwh: float | None = None
    capacity_eur_mwh: float | None = None
    losses_pct: float | None = None
    electricity_tax_pct: float = 5.11269632
    excess_eur_kw: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (("kw", self.kw), ("excess_eur_kw", self.excess_eur_kw)):
            if values and (set(values) != set(PERIODS) or min(values.values()) < 0):
                raise ValueError(f"{name} needs {', '.join(PERIODS)}, none of them negative")
        if list(self.by_period) != sorted(self.by_period) or self.by_period[0] <= 0:
            raise ValueError("contracted kw must be above 0 and must not fall from P1 to P6")

    @property
    def by_period(self) -> tuple[float, ...]:
        """Contracted kilowatts of P1 … P6."""
        return tuple(self.kw[period] for period in PERIODS)

    @property
    def unset(self) -> tuple[str, ...]:
        """Names of the terms that are not set and therefore not counted."""
        names = ("margin_eur_mwh", "adjustment_eur_mwh", "capacity_eur_mwh", "losses_pct")
        return tuple(name for name in names if getattr(self, name) is None)

    @property
    def small(self) -> bool:
        """Whether the excess rule up to 50 kW applies: the month's highest quarter."""
        return max(self.by_period) <= SMALL_CONTRACT_KW
