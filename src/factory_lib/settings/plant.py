"""The plant: stages, machines, people, calendar, demand, limits, contract.

Every number of another factory goes into the ``[plant]`` table of
``config/factory.toml``; nothing else changes. Local wall times throughout; an interval
whose end is not after its begin runs past midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta, field

from factory_lib.settings.loading import Count, NonNegative, Percent, Positive, Section, WallTime

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# Autonomous communities and cities, ISO 3166-2:ES.
Region = Literal[
    "AN",
    "AR",
    "AS",
    "CB",
    "CE",
    "CL",
    "CM",
    "CN",
    "CT",
    "EX",
    "GA",
    "IB",
    "MC",
    "MD",
    "ML",
    "NC",
    "PV",
    "RI",
    "VC",
]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class RoomLimits(Section, frozen=True):
    """Limits of the room while a stage runs; absent means no limit.

    Above ``temperature_critical_c`` a batch in the stage is lost: one that is there
    already raises a critical alert.
    """

    temperature_min_c: float = -273.0
    temperature_max_c: float = 1000.0
    temperature_critical_c: float = 1000.0
    humidity_max_pct: Percent = 100.0

    def __post_init__(self) -> None:
        if not self.temperature_min_c < self.temperature_max_c <= self.temperature_critical_c:
            raise ValueError(
                "temperature_min_c must lie below temperature_max_c, and that not above "
                "temperature_critical_c"
            )


class Stage(Section, frozen=True):
    """One step of the process, in the order of the table.

    ``wait_min`` is the longest wait of the finished mass before the next stage, off the
    machine. ``hold_h`` is how long the machine itself may keep it, staying occupied at
    ``hold_kw``. ``attended`` says when ``operators`` are needed: ``always``, during the
    first ``attended_min`` minutes (``start``), or ``never``.
    """

    name: str
    machine: str
    power_kw: NonNegative
    duration_min: Positive
    wait_min: Count = 0
    hold_h: NonNegative = 0.0
    hold_kw: NonNegative = 0.0
    attended: Literal["always", "start", "never"] = "never"
    operators: Count = 1
    attended_min: Positive = 15
    room: RoomLimits = RoomLimits()

    def __post_init__(self) -> None:
        if self.hold_kw and not self.hold_h:
            raise ValueError(f"stage {self.name} has hold_kw and no hold_h to hold for")


class Variant(Section, frozen=True):
    """A product: the size of its batches, and stages that last longer or shorter for it."""

    batch_min_kg: float
    batch_max_kg: float
    duration_min: Mapping[str, Positive] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.batch_min_kg <= self.batch_max_kg:
            raise ValueError("batch_min_kg must be above 0 and not above batch_max_kg")


class Shift(Section, frozen=True):
    """Operators present on some weekdays; a shift past midnight belongs to the day it begins on."""

    name: str
    days: tuple[Weekday, ...]
    begin: WallTime
    end: WallTime
    operators: Positive


class WorksCalendar(Section, frozen=True):
    """Days without shifts: public holidays of the region, plus ``closed``, minus ``open``."""

    public_holidays: bool = True
    region: Region = "AN"
    closed: tuple[date, ...] = ()
    open: tuple[date, ...] = ()

    def __post_init__(self) -> None:
        if both := sorted(set(self.closed) & set(self.open)):
            raise ValueError(f"{both[0]} is listed as closed and as open")


class Demand(Section, frozen=True):
    """Kilograms by variant: the demand of a week, and its preferred shares by day.

    ``preferred_kg`` is a shape: it is scaled to the week's sum.
    ``preference_eur_kg_day`` is what one kilogram finished one day early or late is
    worth.
    """

    weekly_kg: Mapping[str, NonNegative] = field(default_factory=dict)
    preferred_kg: Mapping[str, Mapping[str, NonNegative]] = field(default_factory=dict)
    preference_eur_kg_day: float = 0.05

    def __post_init__(self) -> None:
        for variant, kg in self.weekly_kg.items():
            days = self.preferred_kg.get(variant, {})
            if unknown := set(days) - set(WEEKDAYS):
                raise ValueError(
                    f"preferred_kg of {variant} names {sorted(unknown)}; "
                    f"weekdays are {', '.join(WEEKDAYS)}"
                )
            if kg > 0 and not sum(days.values()):
                raise ValueError(
                    f"weekly_kg names {variant}, and [plant.demand.preferred_kg.{variant}] "
                    "gives it no days"
                )


class Auxiliary(Section, frozen=True):
    """A load that runs whatever is produced, daily from ``begin`` to ``end``.

    Both equal means around the clock.
    """

    name: str
    power_kw: NonNegative
    begin: WallTime = WallTime()
    end: WallTime = WallTime()


class Power(Section, frozen=True):
    """The power contract; ``limit_kw`` is physical.

    Above ``contracted_kw`` each kW costs ``excess_eur_kw`` per quarter-hour. The legal
    excess rule of the six-period tariffs is quadratic over the month; a linear charge
    stands in for it.
    """

    contracted_kw: float
    excess_eur_kw: NonNegative
    limit_kw: float = 1e6

    def __post_init__(self) -> None:
        if not 0 < self.contracted_kw <= self.limit_kw:
            raise ValueError("contracted_kw must be above 0 and not above limit_kw")


class RoomModel(Section, frozen=True):
    """The reach of heating, cooling and drying from outdoor air.

    See :func:`factory_lib.domain.plant.room`.
    """

    setpoint_c: float = 20.0
    heats_k: NonNegative = 25.0
    cools_k: NonNegative = 14.0
    setpoint_humidity_pct: Percent = 45.0
    dries_g_kg: NonNegative = 4.0
    pressure_hpa: float = 953.0


class Risk(Section, frozen=True):
    """Prices of uncertainty and heat in the objective, stated instead of hidden in margins.

    ``band_weight`` adds that share of ``p90 − p50`` to the expected price. An hour of a
    stage in a room closer than ``heat_margin_k`` to its upper limit costs
    ``heat_eur_k_h`` per missing kelvin.
    """

    band_weight: NonNegative = 0.0
    heat_eur_k_h: NonNegative = 0.5
    heat_margin_k: NonNegative = 1.0


class Slack(Section, frozen=True):
    """Prices of the slack in a plan's constraints; the most expensive gives way last.

    Days are preferred at ``Demand.preference_eur_kg_day``. Then: a stage in a room
    beyond its limits, by kelvin-hour and percent-hour; people beyond the shifts, by
    person-hour; a kilogram one day after the latest day of its order; the same of a
    firm order. ``pin_eur`` is the price of moving a pinned or frozen start, and
    ``lost_eur_kg`` that of a kilogram of a batch in progress that cannot go on.
    """

    room_eur_k_h: NonNegative = 2.0
    room_eur_pct_h: NonNegative = 0.2
    overtime_eur_h: NonNegative = 35.0
    late_eur_kg_day: NonNegative = 2.0
    lost_eur_kg: NonNegative = 10.0
    firm_eur_kg_day: NonNegative = 20.0
    pin_eur: NonNegative = 500.0

    def __post_init__(self) -> None:
        if not self.late_eur_kg_day < self.firm_eur_kg_day:
            raise ValueError("a late firm order must cost more than other late kg")


class Replanning(Section, frozen=True):
    """The price of change between plans: starts within ``freeze_h`` are kept, others may move."""

    freeze_h: float = 12.0
    move_eur: float = 1.0


class Photovoltaics(Section, frozen=True):
    """Solar modules behind the meter; see :func:`factory_lib.domain.pv.pv_kw`.

    ``azimuth_deg`` is counted from south, west positive. ``performance`` is the share of
    the nominal yield that arrives (inverter, cables, heat, dust). Surplus is paid
    ``surplus_eur_mwh``, never more than energy costs then.
    """

    kwp: NonNegative = 0.0
    tilt_deg: Annotated[float, Meta(ge=0, le=90)] = 30.0
    azimuth_deg: float = 0.0
    performance: Annotated[float, Meta(gt=0, le=1)] = 0.8
    surplus_eur_mwh: float = 0.0


class Plant(Section, frozen=True):
    """The whole plant; its parts fit each other when it is built."""

    name: str
    stages: tuple[Stage, ...]
    machines: Mapping[str, int]
    variants: Mapping[str, Variant]
    shifts: tuple[Shift, ...]
    demand: Demand
    power: Power
    calendar: WorksCalendar = WorksCalendar()
    auxiliaries: tuple[Auxiliary, ...] = ()
    room: RoomModel = RoomModel()
    risk: Risk = Risk()
    slack: Slack = Slack()
    replanning: Replanning = Replanning()
    pv: Photovoltaics = Photovoltaics()
    # By machine, between two products.
    cleaning_min: Mapping[str, int] = field(default_factory=dict)
    slot_min: Literal[15, 60] = 15
    lead_in: WallTime = WallTime(14)  # local time of the day before at which a plan may begin

    def __post_init__(self) -> None:
        self._check_stages()
        self._check_variants()
        self._check_people()

    def _check_stages(self) -> None:
        names = {stage.name for stage in self.stages}
        if not 0 < len(self.stages) == len(names):
            raise ValueError("stages must be given, each with a name of its own")
        present = [name for name, count in self.machines.items() if count > 0]
        for stage in self.stages:
            if stage.machine not in present:
                raise ValueError(
                    f"stage {stage.name} runs on {stage.machine!r}; "
                    f"[plant.machines] lists {', '.join(present)}"
                )
        last = self.stages[-1]
        if last.hold_h:
            raise ValueError(f"stage {last.name} is the last: it has nothing to hold mass for")
        self._check_cleaning()

    def _check_cleaning(self) -> None:
        if several := [name for name in self.cleaning_min if self.machines.get(name) != 1]:
            raise ValueError(
                f"cleaning_min names {several[0]!r}: cleaning is planned for machines of one unit"
            )

    def _check_variants(self) -> None:
        names = {stage.name for stage in self.stages}
        for name, variant in self.variants.items():
            if unknown := set(variant.duration_min) - names:
                raise ValueError(
                    f"variant {name} names stages that do not exist: {sorted(unknown)}"
                )
        demanded = set(self.demand.weekly_kg) | set(self.demand.preferred_kg)
        if unknown := demanded - set(self.variants):
            raise ValueError(f"demand names variants that do not exist: {sorted(unknown)}")

    def _check_people(self) -> None:
        most = max((shift.operators for shift in self.shifts), default=0)
        for stage in self.stages:
            if stage.attended != "never" and stage.operators > most:
                raise ValueError(
                    f"stage {stage.name} needs {stage.operators} operators, "
                    f"no shift has more than {most}"
                )
        for before, after in pairwise(sorted(self.shifts, key=lambda shift: shift.begin)):
            ends = before.end if before.begin < before.end else None
            if ends and after.begin < ends and set(before.days) & set(after.days):
                raise ValueError(
                    f"shifts {before.name} and {after.name} overlap; "
                    "write their operators as one shift"
                )
