"""Random factories and an independent checker of their plans.

The checker shares nothing with the optimiser's rooms: it walks a plan's table slot by
slot with plain Python and its own formulas, and ``brute_force`` enumerates.
``FACTORY_STRESS`` multiplies the number of random cases.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from factory_lib.plan import diagnose
from factory_lib.plan.request import Outage, Request
from factory_lib.settings.plant import (
    WEEKDAYS,
    Auxiliary,
    Demand,
    Plant,
    Power,
    Risk,
    RoomLimits,
    RoomModel,
    Shift,
    Stage,
    Variant,
    WorksCalendar,
)

MADRID = ZoneInfo("Europe/Madrid")
DAYS = [
    date(2024, 3, 31),
    date(2024, 10, 27),
    date(2024, 2, 28),
    date(2025, 7, 16),
    date(2024, 11, 1),
]
PUBLIC_HOLIDAYS = {
    date(2024, 2, 28),
    date(2024, 11, 1),
}  # Andalusia's day and All Saints', the ones around DAYS


class Checker:
    """Recomputes everything a plan promises, from the request and the plan's table alone."""

    def __init__(self, request: Request) -> None:
        self.request, self.plant = request, request.plant
        self.slot = timedelta(minutes=self.plant.slot_min)
        self.hours = self.plant.slot_min / 60
        prices = request.prices
        band = (prices["p90"] - prices["p50"]).clip(lower=0.0) if "p90" in prices else 0.0
        weighed = (
            prices["p50"] + prices.get("toll_eur_mwh", 0.0) + self.plant.risk.band_weight * band
        )
        self.price = {at.to_pydatetime(): float(eur) for at, eur in weighed.items()}
        self.step = (prices.index[1] - prices.index[0]).to_pytimedelta()
        rows = () if request.weather is None else request.weather.dropna().itertuples()
        self.outdoors = {
            row.Index.to_pydatetime(): (row.temperature_c, row.humidity_pct) for row in rows
        }
        for name in (
            "present",
            "auxiliary_kw",
            "room_air",
        ):  # asked of every slot by several schedules
            setattr(self, name, functools.cache(getattr(self, name)))

    def violations(self, table: pd.DataFrame) -> list[str]:
        """Return every broken promise in words; an empty list is a correct plan."""
        self.broken: list[str] = []
        self.load: dict[datetime, float] = {}
        self.people: dict[datetime, int] = {}
        self.machines: dict[tuple[str, datetime], int] = {}
        for number, rows in table.groupby("batch"):
            self._batch(int(number), rows.to_dict("records"))
        for (machine, at), used in self.machines.items():
            if at >= self.request.begin and used > self._units(machine, at):
                self.broken.append(f"{used} {machine} at {at}")
        for at, used in self.people.items():
            if at >= self.request.begin and used > self.present(at):
                self.broken.append(f"{used} operators at {at}, {self.present(at)} present")
        for at, kw in self.load.items():
            if (
                at >= self.request.begin
                and kw + self.auxiliary_kw(at) > self.plant.power.limit_kw + 1e-6
            ):
                self.broken.append(f"{kw} kW at {at}")
        self._kilograms(table)
        self._promises(table)
        return self.broken

    def _batch(self, number: int, rows: list[dict[str, Any]]) -> None:
        stages, variant = self.plant.stages, self.plant.variants[rows[0]["variant"]]
        if [row["stage"] for row in rows] != [stage.name for stage in stages]:
            self.broken.append(f"batch {number} has stages {[row['stage'] for row in rows]}")
        for stage, row, following in zip(stages, rows, [*rows[1:], None], strict=True):
            start = row["start"].to_pydatetime()
            minutes = variant.duration_min.get(stage.name, stage.duration_min)
            end = start + math.ceil(minutes / self.plant.slot_min) * self.slot
            if row["end"] != end:
                self.broken.append(
                    f"batch {number} {stage.name} lasts until {row['end']}, not {end}"
                )
            if end > self.request.end:
                self.broken.append(f"batch {number} {stage.name} ends after the window")
            free = end
            if following is not None:
                after = following["start"].to_pydatetime()
                if (
                    not timedelta(0)
                    <= after - end
                    <= timedelta(minutes=max(stage.wait_min, stage.hold_h * 60))
                ):
                    self.broken.append(f"batch {number} waits {after - end} after {stage.name}")
                free = after if stage.hold_h else end
            past = start < self.request.begin
            needs = {"never": 0, "start": stage.attended_min, "always": minutes}[stage.attended]
            for at in self._slots(start, free):
                running = at < end
                self.machines[stage.machine, at] = self.machines.get((stage.machine, at), 0) + 1
                self.load[at] = self.load.get(at, 0.0) + (
                    stage.power_kw if running else stage.hold_kw
                )
                if running and at < start + timedelta(minutes=needs):
                    self.people[at] = self.people.get(at, 0) + stage.operators
                if running and not past and not self._room_allows(stage, at):
                    self.broken.append(f"batch {number} {stage.name} in an unfit room at {at}")

    def _kilograms(self, table: pd.DataFrame) -> None:
        batches = {
            number: (of, kg)
            for number, of, kg in zip(table["batch"], table["variant"], table["kg"], strict=True)
        }
        for variant, spec in self.plant.variants.items():
            made = [kg for of, kg in batches.values() if of == variant]
            owed = sum(of.get(variant, 0.0) for of in self.request.kilograms.values())
            owed += sum(order.kg for order in self.request.orders if order.variant == variant)
            if sum(made) < owed - 1e-6:
                self.broken.append(f"{variant}: less than {owed} kg")
            fixed = {batch.kg for batch in self.request.running if batch.variant == variant}
            for kg in made:
                if (
                    not (spec.batch_min_kg - 1e-6 <= kg <= spec.batch_max_kg + 1e-6)
                    and kg not in fixed
                ):
                    self.broken.append(f"a batch of {kg} kg")

    def _promises(self, table: pd.DataFrame) -> None:
        for pin in self.request.pins:
            rows = table[(table["variant"] == pin.variant) & (table["stage"] == pin.stage)]
            if pin.start not in list(rows["start"]):
                self.broken.append(f"pin {pin} is not kept")
        for batch in self.request.running:
            for stage, at in batch.starts.items():
                if at not in list(
                    table[(table["stage"] == stage) & (table["variant"] == batch.variant)]["start"]
                ):
                    self.broken.append(f"the running {stage} of {at} is lost")
        last = table[table["stage"] == self.plant.stages[-1].name]
        for order in self.request.orders:
            done = last[(last["variant"] == order.variant) & (last["end"] <= order.due)]
            promised = [
                o.kg
                for o in self.request.orders
                if o.variant == order.variant and o.due <= order.due
            ]
            if done["kg"].sum() < sum(promised) - 1e-6:
                self.broken.append(f"the order due {order.due} is late")
        begun = {at for batch in self.request.running for at in batch.starts.values()}
        for start in table["start"]:
            if start < self.request.begin and start.to_pydatetime() not in begun:
                self.broken.append(f"something begins at {start}, before the window")

    def _slots(self, start: datetime, end: datetime) -> list[datetime]:
        return [start + n * self.slot for n in range(int((end - start) / self.slot))]

    def _units(self, machine: str, at: datetime) -> int:
        out = sum(
            outage.count
            for outage in self.request.outages
            if outage.machine == machine
            and (outage.begin or self.request.begin) < at + self.slot
            and at < outage.until
        )
        return max(0, self.plant.machines[machine] - out)

    def present(self, at: datetime) -> int:
        """Return the operators present during the whole slot, by the wall clock."""
        total = 0
        day = at.astimezone(MADRID).date()
        for begins in (day - timedelta(days=1), day):
            calendar = self.plant.calendar
            holiday = (
                calendar.public_holidays
                and begins in PUBLIC_HOLIDAYS
                and begins not in calendar.open
            )
            closed = begins in calendar.closed or holiday
            for shift in self.plant.shifts:
                if closed or WEEKDAYS[begins.weekday()] not in shift.days:
                    continue
                ends = begins + timedelta(days=shift.end <= shift.begin)
                first = datetime.combine(begins, shift.begin, MADRID).astimezone(UTC)
                last = datetime.combine(ends, shift.end, MADRID).astimezone(UTC)
                total += shift.operators if first <= at and at + self.slot <= last else 0
        return total

    def auxiliary_kw(self, at: datetime) -> float:
        """Return the loads that always run, by the wall clock."""
        wall = at.astimezone(MADRID).time()
        kw = 0.0
        for load in self.plant.auxiliaries:
            if load.begin < load.end:
                kw += load.power_kw * (load.begin <= wall < load.end)
            else:
                kw += load.power_kw * (wall >= load.begin or wall < load.end)
        return kw

    def room_air(self, at: datetime) -> tuple[float, float] | None:
        """Return the room's temperature and humidity, from its own formulas; None where the weather is unknown."""
        model, hour = self.plant.room, at.replace(minute=0)
        if hour not in self.outdoors:
            return None
        out_c, out_pct = self.outdoors[hour]
        room_c = min(max(model.setpoint_c, out_c - model.cools_k), out_c + model.heats_k)

        def full(celsius: float) -> float:
            return 6.1094 * math.exp(17.625 * celsius / (celsius + 243.04))

        def water(hpa: float) -> float:
            return 621.98 * hpa / (model.pressure_hpa - hpa)

        outside, target = (
            water(out_pct / 100 * full(out_c)),
            water(model.setpoint_humidity_pct / 100 * full(room_c)),
        )
        inside = outside if outside <= target else max(target, outside - model.dries_g_kg)
        hpa = inside * model.pressure_hpa / (621.98 + inside)
        return room_c, min(100.0, 100 * hpa / full(room_c))

    def _room_allows(self, stage: Stage, at: datetime) -> bool:
        air = self.room_air(at)
        if air is None:
            return True
        limits = stage.room
        fits = limits.temperature_min_c - 1e-5 <= air[0] <= limits.temperature_max_c + 1e-5
        return fits and air[1] <= limits.humidity_max_pct + 1e-5

    def objective(self, table: pd.DataFrame) -> float:
        """Return the plan's cost from the window's begin, summed slot by slot; a broken promise is an error."""
        assert self.violations(table) == []
        plant, total = self.plant, 0.0
        for at, kw in self.load.items():
            if at < self.request.begin:
                continue
            total += self._price(at) * kw * self.hours / 1000
            over = max(
                0.0,
                kw + self.auxiliary_kw(at) - max(plant.power.contracted_kw, self.auxiliary_kw(at)),
            )
            total += over * plant.power.excess_eur_kw * self.hours * 4
        return total + self._heat_eur(table) + self._preference_eur(table)

    def _price(self, at: datetime) -> float:
        """Return the price of a slot: of the hour around it, or the mean of the quarters in it."""
        if self.step >= self.slot:
            return self.price[at - (at - datetime(2000, 1, 1, tzinfo=UTC)) % self.step]
        inner = [self.price[at + n * self.step] for n in range(int(self.slot / self.step))]
        return sum(inner) / len(inner)

    def _heat_eur(self, table: pd.DataFrame) -> float:
        risk, total = self.plant.risk, 0.0
        stages = {stage.name: stage for stage in self.plant.stages}
        for row in table.itertuples():
            edge = stages[row.stage].room.temperature_max_c - risk.heat_margin_k
            for at in self._slots(
                max(row.start.to_pydatetime(), self.request.begin), row.end.to_pydatetime()
            ):
                air = self.room_air(at)
                total += risk.heat_eur_k_h * self.hours * max(0.0, air[0] - edge) if air else 0.0
        return total

    def _preference_eur(self, table: pd.DataFrame) -> float:
        first = min(
            [self.request.begin, *(at for b in self.request.running for at in b.starts.values())]
        )
        day, last = (
            first.astimezone(MADRID).date(),
            (self.request.end - self.slot).astimezone(MADRID).date(),
        )
        last_rows = table[table["stage"] == self.plant.stages[-1].name]
        ends = list(zip(last_rows["variant"], last_rows["end"], last_rows["kg"], strict=True))
        off = 0.0
        while day <= last:
            until = datetime.combine(day + timedelta(days=1), time(), MADRID).astimezone(UTC)
            for variant in self.plant.variants:
                made = sum(kg for of, end, kg in ends if of == variant and end <= until)
                due = sum(
                    of.get(variant, 0.0) for d, of in self.request.kilograms.items() if d <= day
                )
                due += sum(
                    o.kg
                    for o in self.request.orders
                    if o.variant == variant and self._due_day(o.due) <= day
                )
                off += abs(made - due)
            day += timedelta(days=1)
        return off * self.plant.demand.preference_eur_kg_day

    @staticmethod
    def _due_day(due: datetime) -> date:
        return (due - timedelta(seconds=1)).astimezone(MADRID).date()


def random_request(seed: int) -> Request:
    """Return a random factory and what is asked of it: clock changes, negative prices, outages, nights, heat."""
    rng = np.random.default_rng(seed)
    slot_min = int(rng.choice([15, 60, 60]))
    grain = 60 if slot_min == 60 and rng.random() < 0.7 else 15
    stages = tuple(
        _stage(rng, n, grain, last=n == count - 1)
        for count in [int(rng.integers(2, 6))]
        for n in range(count)
    )
    machines = {stage.machine: int(rng.integers(1, 3)) for stage in stages}
    variants = {"plain": Variant(50, 150)}
    if rng.random() < 0.4:
        variants["slow"] = Variant(80, 120, {stages[1].name: stages[1].duration_min + 2 * grain})
    top = max(stage.power_kw for stage in stages)
    first, days = DAYS[int(rng.integers(len(DAYS)))], int(rng.choice([1, 1, 2, 3]))
    closed = (first + timedelta(days=2),) if rng.random() < 0.2 else ()
    worked = (first,) if rng.random() < 0.3 else ()
    plant = Plant(
        name=f"random {seed}",
        stages=stages,
        machines=machines,
        variants=variants,
        shifts=_shifts(rng),
        demand=Demand(preference_eur_kg_day=float(rng.choice([0.0, 0.02, 0.2]))),
        power=Power(
            contracted := top * float(rng.uniform(0.9, 2.5)) + 8,
            float(rng.uniform(0, 0.3)),
            contracted + 30,
        ),
        calendar=WorksCalendar(
            public_holidays=bool(rng.random() < 0.5), closed=closed, open=worked
        ),
        room=RoomModel(heats_k=float(rng.choice([4.0, 25.0]))),
        auxiliaries=(Auxiliary("base", 5.0), Auxiliary("light", 3.0, time(18), time(2))),
        risk=Risk(band_weight=float(rng.choice([0.0, 0.3]))),
        slot_min=slot_min,  # type: ignore[arg-type]
    )
    begin = datetime.combine(first - timedelta(days=1), time(14), MADRID).astimezone(UTC)
    end = datetime.combine(first + timedelta(days=days), time(), MADRID).astimezone(UTC)
    kilograms = {
        first + timedelta(days=n): {
            name: float(rng.integers(30, 160)) for name in variants if rng.random() < 0.7
        }
        for n in range(days)
    }
    outages = ()
    if rng.random() < 0.3:
        outages = (Outage(stages[0].machine, begin + timedelta(hours=float(rng.uniform(2, 14)))),)
    return Request(
        plant,
        _prices(rng, begin, end),
        _weather(rng, begin, end),
        begin,
        end,
        kilograms,
        outages=outages,
    )


def _stage(rng: np.random.Generator, number: int, grain: int, *, last: bool) -> Stage:
    holds = not last and rng.random() < 0.35
    return Stage(
        name=f"stage {number}",
        machine=f"machine {number if rng.random() < 0.85 else 0}",
        power_kw=float(rng.integers(10, 60)),
        duration_min=int(rng.integers(1, 6)) * grain - (5 if rng.random() < 0.2 else 0),
        wait_min=int(rng.choice([0, 5, 30, 60, 120])),
        hold_h=float(rng.integers(2, 9)) if holds else 0.0,
        hold_kw=float(rng.choice([0.0, 5.0, 45.0])) if holds else 0.0,
        attended=rng.choice(["always", "start", "never"]),
        room=RoomLimits(float(rng.choice([-273.0, 15.0])), 27.0, humidity_max_pct=70.0)
        if rng.random() < 0.4
        else RoomLimits(),
    )


def _shifts(rng: np.random.Generator) -> tuple[Shift, ...]:
    days = tuple(day for day in WEEKDAYS if rng.random() < 0.92) or ("mon",)
    kind = rng.integers(4)
    if kind == 0:
        return (
            Shift("day", days, time(6), time(14), 2),
            Shift("late", days, time(14), time(22), 1),
        )
    if kind == 1:
        return (
            Shift("night", days, time(21), time(7), 2),
            Shift("day", days, time(8), time(17), 1),
        )
    if kind == 2:
        return (Shift("long", days, time(5, 30), time(23, 30), 1),)
    return (Shift("all day", days, time(), time(), 1),)


def _prices(rng: np.random.Generator, begin: datetime, end: datetime) -> pd.DataFrame:
    index = pd.date_range(
        begin, end, freq=rng.choice(["h", "15min"]), inclusive="left", unit="s", name="start"
    )
    hour = np.asarray(index.hour)
    p50 = (
        rng.uniform(-20, 90)
        + 40 * np.cos((hour - 20) / 24 * 2 * np.pi)
        + rng.normal(0, 15, len(index))
    )
    return pd.DataFrame(
        {"p10": p50 - 8, "p50": p50, "p90": p50 + rng.uniform(0, 30, len(index))}, index=index
    )


def _weather(rng: np.random.Generator, begin: datetime, end: datetime) -> pd.DataFrame | None:
    if rng.random() < 0.2:
        return None
    index = pd.date_range(begin, end, freq="h", inclusive="left", unit="s", name="start")
    swing = np.cos((np.asarray(index.hour) - 14) / 24 * 2 * np.pi)
    temperature = rng.uniform(5, 34) + 8 * swing + rng.normal(0, 1, len(index))
    humidity = np.clip(55 - 20 * swing + rng.normal(0, 8, len(index)), 5, 100)
    frame = pd.DataFrame({"temperature_c": temperature, "humidity_pct": humidity}, index=index)
    frame[rng.random(len(index)) < 0.03] = np.nan
    return frame


def brute_force(request: Request) -> float | None:
    """Return the least objective over every schedule of one or two batches on an hourly grid, None if there is none."""
    plant, checker = request.plant, Checker(request)
    (variant, kg), *_ = [(v, kg) for of in request.kilograms.values() for v, kg in of.items()]
    count = math.ceil(kg / plant.variants[variant].batch_max_kg)
    size = int((request.end - request.begin) / checker.slot)
    best = None
    for combination in itertools.combinations_with_replacement(list(_chains(plant, size)), count):
        table = _table(request, variant, kg / count, combination)
        if not checker.violations(table):
            cost = checker.objective(table)
            best = cost if best is None else min(best, cost)
    return best


def _chains(plant: Plant, size: int, done: tuple[int, ...] = ()) -> Any:
    number = len(done)
    if number == len(plant.stages):
        yield done
        return
    span = [math.ceil(stage.duration_min / plant.slot_min) for stage in plant.stages]
    rest = sum(span[number:])
    first, last = 0, size - rest
    if done:
        before = plant.stages[number - 1]
        first = done[-1] + span[number - 1]
        last = min(last, first + int(max(before.wait_min, before.hold_h * 60) // plant.slot_min))
    for start in range(first, last + 1):
        yield from _chains(plant, size, (*done, start))


def _table(request: Request, variant: str, kg: float, combination: Any) -> pd.DataFrame:
    plant, rows = request.plant, []
    for number, chain in enumerate(combination, start=1):
        for s, stage in enumerate(plant.stages):
            start = pd.Timestamp(request.begin) + chain[s] * timedelta(minutes=plant.slot_min)
            end = start + math.ceil(stage.duration_min / plant.slot_min) * timedelta(
                minutes=plant.slot_min
            )
            rows.append((number, variant, kg, stage.name, start, end))
    return pd.DataFrame(rows, columns=["batch", "variant", "kg", "stage", "start", "end"])


def tiny_request(seed: int) -> Request:
    """Return a factory small enough to enumerate: two or three stages, one or two batches, half a day of hours."""
    rng = np.random.default_rng(seed)
    count, batches = (3, 1) if rng.random() < 0.4 else (2, 2)
    hold = rng.random() < 0.5
    stages = tuple(
        Stage(
            name=f"stage {n}",
            machine=f"machine {n}",
            power_kw=float(rng.integers(10, 40)),
            duration_min=int(rng.integers(1, 4)) * 60,
            wait_min=int(rng.choice([0, 60])),
            hold_h=2.0 * hold if n == 0 else 0.0,
            hold_kw=4.0 * hold if n == 0 else 0.0,
            attended=rng.choice(["always", "start", "never"]),
        )
        for n in range(count)
    )
    shifts = (Shift("day", WEEKDAYS, time(6), time(int(rng.integers(11, 18))), 1),)
    day = DAYS[int(rng.integers(3))]
    power = Power(float(rng.integers(40, 70)), float(rng.uniform(0, 0.2)))
    plant = Plant(
        "tiny",
        stages,
        {s.machine: 1 for s in stages},
        {"plain": Variant(50, 100)},
        shifts,
        Demand(),
        power,
        WorksCalendar(public_holidays=False),
        slot_min=60,
    )
    begin = datetime.combine(day, time(4), MADRID).astimezone(UTC)
    end = begin + timedelta(hours=int(rng.integers(9, 13)))
    return Request(
        plant, _prices(rng, begin, end), None, begin, end, {day: {"plain": 100.0 * batches}}
    )


@pytest.fixture(autouse=True)
def hurried_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the way is not looked at here; its own tests give it the time it takes."""
    monkeypatch.setattr(diagnose, "TIME_LIMIT_S", 0.1)


@pytest.fixture
def checker() -> Callable[[Request], Checker]:
    """The independent checker of one request's plans."""
    return Checker


@pytest.fixture
def world() -> Callable[[int], Request]:
    """A random request by seed."""
    return random_request


@pytest.fixture
def tiny() -> Callable[[int], Request]:
    """A random request small enough to enumerate, by seed."""
    return tiny_request


@pytest.fixture
def enumerated() -> Callable[[Request], float | None]:
    """The least cost over every schedule of a tiny request."""
    return brute_force
