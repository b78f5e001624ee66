"""Price basis, access tariff and supply contract; published tolls are data, not settings."""

from collections.abc import Mapping
from typing import Literal

from msgspec import field

from factory_lib.settings.loading import Section

PERIODS = ("P1", "P2", "P3", "P4", "P5", "P6")


class TariffSettings(Section, frozen=True):
    """Price basis, access tariff, and the year of its published terms.

    Attributes
    ----------
    price_basis : {"spot", "pvpc"}
        PVPC is regulated for contracts up to 10 kW and contains the tolls of 2.0TD;
        here it is a public proxy.
    access : {"2.0TD", "3.0TD", "6.1TD"}
        Whose calendar the periods follow in Spain.
    area : str
        Whose hours and seasons the periods follow; in Portugal the cycle too, and whether
        national holidays count as Sundays.
    year : int, optional
        Take every published toll and charge from this year, for studies over other years.
    """

    price_basis: Literal["spot", "pvpc"] = "spot"
    access: Literal["2.0TD", "3.0TD", "6.1TD"] = "3.0TD"
    area: Literal[
        "peninsula",
        "balearics",
        "canaries",
        "ceuta",
        "melilla",
        "portugal_weekly",
        "portugal_weekly_holidays",
        "portugal_daily",
    ] = "peninsula"
    year: int | None = None

    @property
    def published(self) -> bool:
        """Whether tolls and charges of the area are shipped."""
        return not self.area.startswith("portugal")


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
    toll_eur_mwh : mapping
        Tolls and charges by period where none are shipped (Portugal: P1 … P4).
    """

    kw: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PERIODS, 150.0))
    margin_eur_mwh: float | None = None
    adjustment_eur_mwh: float | None = None
    capacity_eur_mwh: float | None = None
    losses_pct: float | None = None
    electricity_tax_pct: float = 5.11269632
    excess_eur_kw: Mapping[str, float] = field(default_factory=dict)
    toll_eur_mwh: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (("kw", self.kw), ("excess_eur_kw", self.excess_eur_kw)):
            if values and (set(values) != set(PERIODS) or min(values.values()) < 0):
                raise ValueError(f"{name} needs {', '.join(PERIODS)}, none of them negative")
        if not set(self.toll_eur_mwh) <= set(PERIODS):
            raise ValueError(f"toll_eur_mwh is of {', '.join(PERIODS)}")
        if list(self.by_period) != sorted(self.by_period) or self.by_period[0] <= 0:
            raise ValueError("contracted kw must be above 0 and must not fall from P1 to P6")

    @property
    def by_period(self) -> tuple[float, ...]:
        """Contracted kilowatts of P1 … P6."""
        return tuple(self.kw[period] for period in PERIODS)

    @property
    def unset(self) -> tuple[str, ...]:
        """Names of the terms that are not set and therefore not counted."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is None)

    @property
    def small(self) -> bool:
        """Whether the excess rule up to 50 kW applies: the month's highest quarter."""
        return max(self.by_period) <= SMALL_CONTRACT_KW
