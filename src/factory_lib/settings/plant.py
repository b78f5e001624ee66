"""The plant as its engineer would write it down: stages, machines, people, calendar, demand, limits, contract.

Every number of another factory goes into the ``[plant]`` table of
``config/factory.toml``; nothing else changes. Local wall times throughout; an interval
whose end is not after its begin runs past midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from itertools import pairwise
from typing import Literal

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# Autonomous communities and cities, ISO 3166-2:ES.
REGIONS = (
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
)
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class RoomLimits:
    """What the room must keep while a stage runs; absent means no limit.

    Above ``temperature_critical_c`` a batch in the stage is lost: one that is there
    already raises a critical alert.
    """

    temperature_min_c: float = -273.0
    temperature_max_c: float = 1000.0
    temperature_critical_c: float = 1000.0
    humidity_max_pct: float = 100.0

    def __post_init__(self) -> None:
        if not self.temperature_min_c < self.temperature_max_c <= self.temperature_critical_c:
            raise ValueError(
                "temperature_min_c must lie below temperature_max_c, and that not above the critical one"
            )
        if not 0 < self.humidity_max_pct <= 100:
            raise ValueError("humidity_max_pct must lie in 0…100")


@dataclass(frozen=True)
class Stage:
    """One step of the process, in the order of the table.

    ``wait_min`` is the longest wait of the finished mass before the next stage, off the
    machine. ``hold_h`` is how long the machine itself may keep it, staying occupied at
    ``hold_kw``. ``attended`` says when ``operators`` are needed: ``always``, during the
    first ``attended_min`` minutes (``start``), or ``never``.
    """

    name: str
    machine: str
    power_kw: float
    duration_min: int
    wait_min: int = 0
    hold_h: float = 0.0
    hold_kw: float = 0.0
    attended: Literal["always", "start", "never"] = "never"
    operators: int = 1
    attended_min: int = 15
    room: RoomLimits = RoomLimits()

    def __post_init__(self) -> None:
        if self.duration_min <= 0:
            raise ValueError(f"stage {self.name} must last at least a minute")
        if (
            min(self.power_kw, self.wait_min, self.hold_h, self.hold_kw, self.operators) < 0
            or self.attended_min < 1
        ):
            raise ValueError(
                f"stage {self.name}: power, waits, holding and operators must not be negative"
            )
        if self.hold_kw and not self.hold_h:
            raise ValueError(f"stage {self.name} has hold_kw and no hold_h to hold for")


@dataclass(frozen=True)
class Variant:
    """A product: how large its batches are and where its stages last longer or shorter than the stage's own time."""

    batch_min_kg: float
    batch_max_kg: float
    duration_min: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.batch_min_kg <= self.batch_max_kg:
            raise ValueError("batch_min_kg must be above 0 and not above batch_max_kg")
        if any(minutes <= 0 for minutes in self.duration_min.values()):
            raise ValueError("every duration_min must be at least a minute")


@dataclass(frozen=True)
class Shift:
    """Operators present on some weekdays; a shift past midnight belongs to the day it begins on."""

    name: str
    days: tuple[Weekday, ...]
    begin: time
    end: time
    operators: int

    def __post_init__(self) -> None:
        if self.operators < 1:
            raise ValueError(f"shift {self.name} needs at least one operator")


@dataclass(frozen=True)
class WorksCalendar:
    """Days without shifts: public holidays of the country and region, plus ``closed``, minus ``open``."""

    public_holidays: bool = True
    region: str = "AN"  # ISO 3166-2:ES code of the autonomous community
    closed: tuple[date, ...] = ()
    open: tuple[date, ...] = ()

    def __post_init__(self) -> None:
        if both := sorted(set(self.closed) & set(self.open)):
            raise ValueError(f"{both[0]} is listed as closed and as open")
        if self.region not in REGIONS:
            raise ValueError(f"region must be one of {', '.join(REGIONS)}, not {self.region!r}")


@dataclass(frozen=True)
class Demand:
    """Kilograms by variant: what a week owes, and how its days would like to share it.

    ``preferred_kg`` is a shape: it is scaled to the week's sum.
    ``preference_eur_kg_day`` is what one kilogram finished one day early or late is
    worth.
    """

    weekly_kg: Mapping[str, float] = field(default_factory=dict)
    preferred_kg: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    preference_eur_kg_day: float = 0.05

    def __post_init__(self) -> None:
        for variant, kg in self.weekly_kg.items():
            days = self.preferred_kg.get(variant, {})
            if unknown := set(days) - set(WEEKDAYS):
                raise ValueError(
                    f"preferred_kg of {variant} names {sorted(unknown)}; weekdays are {', '.join(WEEKDAYS)}"
                )
            if kg < 0 or min(days.values(), default=0.0) < 0:
                raise ValueError(f"demand of {variant} must not be negative")
            if kg > 0 and not sum(days.values()):
                raise ValueError(
                    f"weekly_kg names {variant}, and [plant.demand.preferred_kg.{variant}] gives it no days"
                )


@dataclass(frozen=True)
class Auxiliary:
    """A load that runs whatever is produced, daily from ``begin`` to ``end``; both equal means around the clock."""

    name: str
    power_kw: float
    begin: time = time()
    end: time = time()

    def __post_init__(self) -> None:
        if self.power_kw < 0:
            raise ValueError(f"auxiliary {self.name}: power_kw must not be negative")


@dataclass(frozen=True)
class Power:
    """The contract: above ``contracted_kw`` each kW costs ``excess_eur_kw`` per quarter-hour; ``limit_kw`` is physical.

    The legal excess rule of the six-period tariffs is quadratic over the month; a
    linear charge stands in for it.
    """

    contracted_kw: float
    excess_eur_kw: float
    limit_kw: float = 1e6

    def __post_init__(self) -> None:
        if not 0 < self.contracted_kw <= self.limit_kw:
            raise ValueError("contracted_kw must be above 0 and not above limit_kw")
        if self.excess_eur_kw < 0:
            raise ValueError("excess_eur_kw must not be negative")


@dataclass(frozen=True)
class RoomModel:
    """How far heating, cooling and drying reach from outdoor air; see :func:`factory_lib.domain.plant.room`."""

    setpoint_c: float = 20.0
    heats_k: float = 25.0
    cools_k: float = 14.0
    setpoint_humidity_pct: float = 45.0
    dries_g_kg: float = 4.0
    pressure_hpa: float = 953.0

    def __post_init__(self) -> None:
        if min(self.heats_k, self.cools_k, self.dries_g_kg) < 0:
            raise ValueError(
                "heats_k, cools_k and dries_g_kg say how far the plant reaches: none may be negative"
            )
        if not 0 < self.setpoint_humidity_pct <= 100:
            raise ValueError("setpoint_humidity_pct must lie in 0…100")


@dataclass(frozen=True)
class Risk:
    """What uncertainty and heat cost in the objective, in stated prices rather than hidden margins.

    ``band_weight`` adds that share of ``p90 − p50`` to the expected price. An hour of a
    stage in a room closer than ``heat_margin_k`` to its upper limit costs
    ``heat_eur_k_h`` per missing kelvin.
    """

    band_weight: float = 0.0
    heat_eur_k_h: float = 0.5
    heat_margin_k: float = 1.0

    def __post_init__(self) -> None:
        if min(self.band_weight, self.heat_eur_k_h, self.heat_margin_k) < 0:
            raise ValueError(
                "a risk costs something or nothing: band_weight, heat_eur_k_h, heat_margin_k from 0"
            )


@dataclass(frozen=True)
class Slack:
    """Stated prices at which a plan's wishes give way, in this order; what costs most gives way last.

    Days are preferred at ``Demand.preference_eur_kg_day``. Then: a stage in a room beyond its limits, by kelvin-hour
    and percent-hour; people beyond the shifts, by person-hour; a kilogram one day after the latest day of its order;
    the same of a firm order. ``pin_eur`` is what moving a pinned or frozen start costs, and ``lost_eur_kg`` a kilogram
    of a batch in progress that cannot go on.
    """

    room_eur_k_h: float = 2.0
    room_eur_pct_h: float = 0.2
    overtime_eur_h: float = 35.0
    late_eur_kg_day: float = 2.0
    lost_eur_kg: float = 10.0
    firm_eur_kg_day: float = 20.0
    pin_eur: float = 500.0

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0 or not self.late_eur_kg_day < self.firm_eur_kg_day:
            raise ValueError(
                "prices must not be negative, and a late firm order must cost more than other late kg"
            )


@dataclass(frozen=True)
class Replanning:
    """How a plan follows the one before: starts within ``freeze_h`` are kept, any other moved start costs."""

    freeze_h: float = 12.0
    move_eur: float = 1.0


@dataclass(frozen=True)
class Photovoltaics:
    """Solar modules behind the meter; see :func:`factory_lib.domain.pv.pv_kw`.

    ``azimuth_deg`` is counted from south, west positive. ``performance`` is the share of the nominal yield that
    arrives (inverter, cables, heat, dust). Surplus is paid ``surplus_eur_mwh``, never more than energy costs then.
    """

    kwp: float = 0.0
    tilt_deg: float = 30.0
    azimuth_deg: float = 0.0
    performance: float = 0.8
    surplus_eur_mwh: float = 0.0

    def __post_init__(self) -> None:
        if self.kwp < 0 or not 0 <= self.tilt_deg <= 90 or not 0 < self.performance <= 1:
            raise ValueError("kwp from 0, tilt_deg in 0…90, performance above 0 and at most 1")


@dataclass(frozen=True)
class Plant:
    """The whole plant; validated when built, so that what uses it need not look twice."""

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
    cleaning_min: Mapping[str, int] = field(
        default_factory=dict
    )  # by machine, between two products
    slot_min: Literal[15, 60] = 15
    lead_in: time = time(14)  # a day's plan may begin at this local time of the day before

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError("stages must be given, each with a name of its own")
        for stage in self.stages:
            if self.machines.get(stage.machine, 0) < 1:
                listed = ", ".join(name for name, count in self.machines.items() if count > 0)
                raise ValueError(
                    f"stage {stage.name} runs on {stage.machine!r}; [plant.machines] lists {listed}"
                )
        if self.stages[-1].hold_h:
            raise ValueError(f"stage {names[-1]} is the last: it has nothing to hold mass for")
        for name, variant in self.variants.items():
            if unknown := set(variant.duration_min) - set(names):
                raise ValueError(
                    f"variant {name} names stages that do not exist: {sorted(unknown)}"
                )
        if unknown := (set(self.demand.weekly_kg) | set(self.demand.preferred_kg)) - set(
            self.variants
        ):
            raise ValueError(f"demand names variants that do not exist: {sorted(unknown)}")
        for machine in self.cleaning_min:
            if self.machines.get(machine) != 1:
                raise ValueError(
                    f"cleaning_min names {machine!r}: cleaning is planned for machines of one unit"
                )
        self._check_people()

    def _check_people(self) -> None:
        most = max((shift.operators for shift in self.shifts), default=0)
        for stage in self.stages:
            if stage.attended != "never" and stage.operators > most:
                raise ValueError(
                    f"stage {stage.name} needs {stage.operators} operators, no shift has more than {most}"
                )
        for before, after in pairwise(sorted(self.shifts, key=lambda s: s.begin)):
            if (
                before.begin < before.end
                and after.begin < before.end
                and set(before.days) & set(after.days)
            ):
                raise ValueError(
                    f"shifts {before.name} and {after.name} overlap; write their operators as one shift"
                )
