"""The plant: stages, machines, people, calendar, demand, limits.

Every number of another factory goes into the ``[plant]`` table of
``config/factory.toml``; nothing else changes. Local wall times throughout; an interval
whose end is not after its begin runs past midnight.
"""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

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
    "PT",  # Portugal as a whole
]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


class RoomLimits(Section, frozen=True):
    """Limits of the room while a stage runs; absent means no limit.

    Above ``temperature_critical_c`` no stage is planned; one that runs already goes on
    beyond its limit.
    """

    temperature_min_c: float = -273.0
    temperature_max_c: float = 1000.0
    temperature_critical_c: float = 1000.0
    humidity_max_pct: Percent = 100.0

    def __post_init__(self) -> None:
        _require(
            self.temperature_min_c < self.temperature_max_c <= self.temperature_critical_c,
            "temperature_min_c must lie below temperature_max_c, and that not above "
            "temperature_critical_c",
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
        _require(
            self.hold_h > 0 or not self.hold_kw,
            f"stage {self.name} has hold_kw and no hold_h to hold for",
        )


class Variant(Section, frozen=True):
    """A product: the size of its batches, and stages that last longer or shorter for it."""

    batch_min_kg: float
    batch_max_kg: float
    duration_min: Mapping[str, Positive] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(
            0 < self.batch_min_kg <= self.batch_max_kg,
            "batch_min_kg must be above 0 and not above batch_max_kg",
        )


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
        both = ", ".join(map(str, sorted({*self.closed} & {*self.open})))
        _require(not both, f"{both} is listed as closed and as open")


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
            _require(
                set(days) <= set(WEEKDAYS),
                f"preferred_kg of {variant} names {', '.join(days)}; "
                f"weekdays are {', '.join(WEEKDAYS)}",
            )
            _require(
                kg == 0 or sum(days.values()) > 0,
                f"weekly_kg names {variant}, and [plant.demand.preferred_kg.{variant}] "
                "gives it no days",
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
    """The connection: ``limit_kw`` is physical, the whole plant's load never exceeds it."""

    limit_kw: Annotated[float, Meta(gt=0)] = 1e6


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
        _require(
            self.late_eur_kg_day < self.firm_eur_kg_day,
            "a late firm order must cost more than other late kg",
        )


class Replanning(Section, frozen=True):
    """The price of change between plans: starts within ``freeze_h`` are kept, others may move."""

    freeze_h: float = 12.0
    move_eur: float = 1.0


class Photovoltaics(Section, frozen=True):
    """Solar modules behind the meter; see :func:`factory_lib.domain.plant.pv_kw`.

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
    calendar: WorksCalendar = WorksCalendar()
    auxiliaries: tuple[Auxiliary, ...] = ()
    power: Power = Power()
    room: RoomModel = RoomModel()
    slack: Slack = Slack()
    replanning: Replanning = Replanning()
    pv: Photovoltaics = Photovoltaics()
    # By machine, between two products.
    cleaning_min: Mapping[str, int] = field(default_factory=dict)
    slot_min: Literal[15, 60] = 15
    lead_in: WallTime = WallTime(14)  # local time of the day before at which a plan may begin
    # of all local times of the site; the market's day is Madrid's everywhere
    time_zone: Literal["Europe/Madrid", "Europe/Lisbon", "Atlantic/Canary"] = "Europe/Madrid"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of shifts, demand, and what people read."""
        return ZoneInfo(self.time_zone)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        _require(0 < len(names) == len(set(names)), "every stage needs a name of its own")
        most = max((shift.operators for shift in self.shifts), default=0)
        for stage in self.stages:
            _require(
                self.machines.get(stage.machine, 0) > 0,
                f"stage {stage.name} runs on {stage.machine!r}; "
                f"[plant.machines] lists {', '.join(self.machines)}",
            )
            _require(
                stage.attended == "never" or stage.operators <= most,
                f"stage {stage.name} needs {stage.operators} operators, "
                f"no shift has more than {most}",
            )
        _require(
            not self.stages[-1].hold_h,
            f"stage {names[-1]} is the last: it has nothing to hold mass for",
        )
        _require(
            all(self.machines.get(name) == 1 for name in self.cleaning_min),
            f"cleaning_min names {', '.join(self.cleaning_min)}: cleaning is planned for "
            "machines of one unit",
        )
        for name, variant in self.variants.items():
            unknown = sorted(set(variant.duration_min) - set(names))
            _require(not unknown, f"variant {name} names stages that do not exist: {unknown}")
        unknown = sorted({*self.demand.weekly_kg, *self.demand.preferred_kg} - set(self.variants))
        _require(not unknown, f"demand names variants that do not exist: {unknown}")
        self._check_shifts()

    def _check_shifts(self) -> None:
        for before, after in pairwise(sorted(self.shifts, key=lambda shift: shift.begin)):
            _require(
                before.end <= before.begin
                or before.end <= after.begin
                or not set(before.days) & set(after.days),
                f"shifts {before.name} and {after.name} overlap; "
                "write their operators as one shift",
            )
