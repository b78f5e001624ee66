"""A planning problem: a request laid on a grid of slots as arrays.

Identical batches are counted, not named: a ``Job`` is a number of like batches whose
k-th start of one stage belongs to the k-th start of the next. Batches in progress are
jobs of their own whose past starts are facts on slots before the window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import epoch, market_day
from factory_lib.domain.plant import Bools, Floats, Ints, auxiliary_kw, day_ends, operators, room
from factory_lib.errors import BadInput
from factory_lib.plan import demand
from factory_lib.plan.request import Pin, Request
from factory_lib.settings.plant import Plant, Stage


@dataclass(frozen=True)
class Job:
    """``count`` like batches; ``facts[s]`` are the slots in which their stage ``s`` has already begun."""

    variant: str
    count: int
    min_kg: float
    max_kg: float
    duration: tuple[int, ...]
    facts: tuple[tuple[int, ...], ...]

    @property
    def fresh(self) -> bool:
        """Whether these batches have not begun yet."""
        return not any(self.facts)


@dataclass(frozen=True, eq=False)
class Problem:
    """A request on its grid: arrays of length T over ``index``, whose slots before ``now`` are history.

    ``price`` is what the objective pays per MWh, tolls and band included, and
    ``heat_eur`` what a slot of a stage costs in a hot room; both are 0 in history,
    which is sunk. ``hurdle[f][s]`` is how much each slot lacks for stage ``s`` to run:
    kelvin or percent, machines, operators, kilowatts; ``humid[s]`` says where the
    room's lack is one of percent, and ``critical[s]`` where a batch would be lost.
    ``wait[s]`` are the most slots from the end of ``s`` to the next start; ``pins`` are
    (jobs any of which may keep it, stage, slot), ``due`` (variant, kilograms, slot) of
    firm orders, and ``deadline`` the slot by which everything is finished.
    """

    request: Request
    index: pd.DatetimeIndex
    now: int
    slot_h: float
    price: Floats
    jobs: tuple[Job, ...]
    wait: tuple[int, ...]
    people: Ints
    capacity: Mapping[str, Ints]
    base_kw: Floats
    heat_eur: Floats
    hurdle: Mapping[str, Floats]
    humid: Bools
    critical: Bools
    unknown_air: int
    pins: tuple[tuple[tuple[int, ...], int, int], ...]
    days: tuple[date, ...]
    day_end: Ints
    wanted_kg: Mapping[str, Floats]
    due: tuple[tuple[str, float, int], ...]
    deadline: int

    @property
    def plant(self) -> Plant:
        """The plant the request is for."""
        return self.request.plant

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """Return the starts of all slots and the end of the last."""
        return pd.DatetimeIndex(
            [*self.index, self.index[-1] + timedelta(hours=self.slot_h)]
        ).as_unit("s")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The plant's stages in order."""
        return self.request.plant.stages

    def due_kg(self, variant: str) -> dict[int, float]:
        """Return how many kilograms firm orders want finished by each slot they are due in, earlier ones included."""
        mine = [
            (kg, min(max(slot, 0), len(self.index)))
            for name, kg, slot in self.due
            if name == variant
        ]
        return {
            slot: sum(kg for kg, earlier in mine if earlier <= slot)
            for slot in sorted({at for _, at in mine})
        }

    def attention(self, job: Job, stage: int) -> int:
        """Return for how many slots from its start the stage needs its operators."""
        spec = self.stages[stage]
        first = math.ceil(spec.attended_min / 60 / self.slot_h)
        return {
            "never": 0,
            "start": min(first, job.duration[stage]),
            "always": job.duration[stage],
        }[spec.attended]


def lay_out(request: Request, *, deadline: datetime | None = None) -> Problem:
    """Lay a request on its grid; an earlier ``deadline`` than the window's end leaves slots to be late in.

    Raises
    ------
    BadInput
        If the window is empty or off the grid, a price is missing, or a name is not the
        plant's.
    """
    plant = request.plant
    slot_s = plant.slot_min * 60
    index, now = _grid(request, slot_s)
    air = _air(request, index)
    people, capacity = operators(plant, index, slot_s), _capacity(request, index)
    base_kw = auxiliary_kw(plant, index)
    hurdle = _hurdles(plant, air, people, capacity, base_kw)
    for lack in hurdle.values():
        lack[:, :now] = 0.0
    days, ends = day_ends(index, slot_s)
    wanted_kg = _wanted_kg(request, days)
    jobs = _jobs(request, index, wanted_kg)
    return Problem(
        request=request,
        index=index,
        now=now,
        slot_h=slot_s / 3600,
        price=_objective_price(request, index, now),
        jobs=jobs,
        wait=tuple(int(max(s.wait_min, s.hold_h * 60)) // plant.slot_min for s in plant.stages),
        people=people,
        capacity=capacity,
        base_kw=base_kw,
        heat_eur=_heat_eur(plant, air) * slot_s / 3600 * (np.arange(len(index)) >= now),
        hurdle=hurdle,
        humid=np.less(*_beyond(plant, air)),
        critical=np.array(
            [
                air["room_temperature_c"] > stage.room.temperature_critical_c
                for stage in plant.stages
            ]
        ),
        unknown_air=int(air[now:].isna().any(axis=1).sum()),
        pins=tuple(_pin(pin, jobs, plant, index) for pin in request.pins),
        days=tuple(days),
        day_end=ends,
        wanted_kg=wanted_kg,
        due=tuple((o.variant, o.kg, slot_of(index, o.due)) for o in request.orders),
        deadline=len(index) if deadline is None else slot_of(index, deadline),
    )


def slot_of(index: pd.DatetimeIndex, instant: datetime) -> int:
    """Return the number of the slot in which ``instant`` lies, counted from the index's first; may lie outside."""
    slot_s = int((index[1] - index[0]).total_seconds())
    return (epoch(instant) - int(index[0].timestamp())) // slot_s


def on_grid(frame: pd.DataFrame, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Lay a regular frame on the index: coarser values are repeated over their slot, finer ones averaged.

    A slot of which a part is unknown is unknown.
    """
    step = frame.index.to_series().diff().min() if len(frame) > 1 else None
    if step is not None and len(index) > 1 and step < (wanted := index[1] - index[0]):
        parts = frame.select_dtypes("number").groupby(pd.DatetimeIndex(frame.index).floor(wanted))
        frame, step = parts.mean().where(parts.count() == wanted // step), wanted
    return frame.reindex(index if step is None else index.floor(step)).set_axis(index)


def _grid(request: Request, slot_s: int) -> tuple[pd.DatetimeIndex, int]:
    begin, end = epoch(request.begin), epoch(request.end)
    if begin % slot_s or end % slot_s or end <= begin:
        raise BadInput(
            f"{request.begin} … {request.end} is not a window of whole slots of {slot_s // 60} minutes."
        )
    first = (
        min([begin, *(epoch(at) for batch in request.running for at in batch.starts.values())])
        // slot_s
        * slot_s
    )
    index = pd.date_range(
        pd.Timestamp(first, unit="s", tz="UTC"),
        periods=(end - first) // slot_s,
        freq=f"{slot_s}s",
        unit="s",
        name="start",
    )
    return index, (begin - first) // slot_s


def _objective_price(request: Request, index: pd.DatetimeIndex, now: int) -> Floats:
    """Return expected price plus toll plus the stated share of the upper band; 0 before ``now``, where it is sunk."""
    frame = on_grid(request.prices.select_dtypes("number"), index)
    own = [name for name in frame.columns if name not in ("p10", "p90", "toll_eur_mwh")]
    if len(own) != 1:
        raise BadInput(
            f"The price frame needs p50 or exactly one price column; it has {', '.join(own) or 'none'}."
        )
    price = frame[own[0]].to_numpy(float)
    if missing := int(np.isnan(price[now:]).sum()):
        raise BadInput(
            f"{missing} of {len(price) - now} slots of the window have no price.",
            next_step="Forecast them first.",
        )
    band = (
        (frame["p90"] - frame[own[0]]).clip(lower=0).fillna(0).to_numpy(float)
        if "p90" in frame
        else 0.0
    )
    toll = (
        frame["toll_eur_mwh"].to_numpy(float) if "toll_eur_mwh" in frame else np.zeros(len(price))
    )
    if missing := int(np.isnan(toll[now:]).sum()):
        raise BadInput(
            f"{missing} of {len(price) - now} slots of the window have no toll: they would look free.",
            next_step="Give tolls for every slot, or leave toll_eur_mwh out and plan with energy only.",
        )
    total = np.asarray(price + toll + request.plant.risk.band_weight * band)
    total[:now] = 0.0
    return total


def _air(request: Request, index: pd.DatetimeIndex) -> pd.DataFrame:
    if request.weather is None:
        return pd.DataFrame(
            {"room_temperature_c": np.nan, "room_humidity_pct": np.nan}, index=index
        )
    return on_grid(room(request.weather, request.plant.room), index)


def _capacity(request: Request, index: pd.DatetimeIndex) -> dict[str, Ints]:
    capacity = {
        name: np.full(len(index), count, dtype=np.int64)
        for name, count in request.plant.machines.items()
    }
    for outage in request.outages:
        begin = slot_of(index, outage.begin or request.begin)
        machine = _known(outage.machine, list(capacity), "machine")
        until = -slot_of(
            index, index[0] - (pd.Timestamp(outage.until) - index[0])
        )  # a slot touched is a slot lost
        capacity[machine][max(begin, 0) : max(until, 0)] -= outage.count
    return {name: np.maximum(count, 0) for name, count in capacity.items()}


def _hurdles(
    plant: Plant, air: pd.DataFrame, people: Ints, capacity: Mapping[str, Ints], base_kw: Floats
) -> dict[str, Floats]:
    outside = np.maximum(*_beyond(plant, air))
    return {
        "room": np.where(outside > 1e-6, outside, 0.0),
        "machines": np.array(
            [np.maximum(0, 1 - capacity[s.machine]) for s in plant.stages], dtype=float
        ),
        "operators": np.array(
            [np.maximum(0, s.operators * (s.attended != "never") - people) for s in plant.stages],
            dtype=float,
        ),
        "power": np.array(
            [np.maximum(0, base_kw + s.power_kw - plant.power.limit_kw) for s in plant.stages],
            dtype=float,
        ),
    }


def _beyond(plant: Plant, air: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return by stage and slot how many kelvin and percent the room is beyond a stage's limits; unknown is 0."""
    celsius, percent = (
        air[name].to_numpy(float)[None, :] for name in ("room_temperature_c", "room_humidity_pct")
    )
    lowest, highest, wettest = (
        np.array([[getattr(stage.room, limit)] for stage in plant.stages])
        for limit in ("temperature_min_c", "temperature_max_c", "humidity_max_pct")
    )
    kelvin = np.maximum(celsius - highest, lowest - celsius)
    return np.nan_to_num(np.maximum(kelvin, 0.0)), np.nan_to_num(np.maximum(percent - wettest, 0.0))


def _heat_eur(plant: Plant, air: pd.DataFrame) -> Floats:
    """EUR per hour that each stage runs in a room inside the margin below its upper limit."""
    celsius = air["room_temperature_c"].to_numpy(float)
    edge = np.array([s.room.temperature_max_c - plant.risk.heat_margin_k for s in plant.stages])
    return np.asarray(
        plant.risk.heat_eur_k_h * np.maximum(0.0, np.nan_to_num(celsius[None, :] - edge[:, None]))
    )


def _jobs(
    request: Request, index: pd.DatetimeIndex, wanted_kg: Mapping[str, Floats]
) -> tuple[Job, ...]:
    plant, jobs, soonest = request.plant, [], []
    for batch in request.running:
        names = [stage.name for stage in plant.stages]
        begun = [name in batch.starts for name in names]
        if set(batch.starts) - set(names) or not begun[0] or begun != sorted(begun, reverse=True):
            raise BadInput(
                f"A running batch has begun {sorted(batch.starts)}; stages begin in order: {', '.join(names)}."
            )
        facts = tuple(
            (slot_of(index, batch.starts[n]),) if n in batch.starts else () for n in names
        )
        durations = _durations(plant, batch.variant)
        jobs.append(Job(batch.variant, 1, batch.kg, batch.kg, durations, facts))
        soonest.append(
            slot_of(index, max(batch.starts.values())) + sum(durations[sum(begun) - 1 :])
        )
    for variant, spec in plant.variants.items():
        running = [
            (batch.kg, end)
            for batch, end in zip(request.running, soonest, strict=True)
            if batch.variant == variant
        ]
        lacking = [wanted_kg[variant].sum() - sum(kg for kg, _ in running)]
        for order in (one for one in request.orders if one.variant == variant):
            urgent = [
                other.kg
                for other in request.orders
                if other.variant == variant and other.due <= order.due
            ]
            due = slot_of(index, order.due)
            lacking.append(sum(urgent) - sum(kg for kg, end in running if end <= due))
        count = demand.batches(plant, variant, wanted_kg[variant]) - len(running)
        count = max(count, *(demand.batches(plant, variant, [max(0.0, kg)]) for kg in lacking))
        if count > 0:
            none = tuple(() for _ in plant.stages)
            jobs.append(
                Job(
                    variant,
                    count,
                    spec.batch_min_kg,
                    spec.batch_max_kg,
                    _durations(plant, variant),
                    none,
                )
            )
    return tuple(jobs)


def _durations(plant: Plant, variant: str) -> tuple[int, ...]:
    minutes = plant.variants[_known(variant, list(plant.variants), "variant")].duration_min
    return tuple(
        math.ceil(minutes.get(s.name, s.duration_min) / plant.slot_min) for s in plant.stages
    )


def _wanted_kg(request: Request, days: list[date]) -> dict[str, Floats]:
    """Kilograms by variant and day of the grid; an extra order is wanted on the day it is due."""
    wanted = {variant: np.zeros(len(days)) for variant in request.plant.variants}
    asked = [
        (day, variant, kg)
        for day, by_variant in request.kilograms.items()
        for variant, kg in by_variant.items()
    ]
    asked += [
        (market_day(order.due - timedelta(seconds=1)), order.variant, order.kg)
        for order in request.orders
    ]
    for day, variant, kg in asked:
        if not days[0] <= day <= days[-1]:
            raise BadInput(
                f"{kg:g} kg are asked for {day}, outside the window {days[0]} … {days[-1]}."
            )
        wanted[_known(variant, list(wanted), "variant")][days.index(day)] += kg
    return wanted


def _pin(
    pin: Pin, jobs: tuple[Job, ...], plant: Plant, index: pd.DatetimeIndex
) -> tuple[tuple[int, ...], int, int]:
    """Any batch of the variant may keep a pin, one that has begun as well as one yet to begin."""
    names = [s.name for s in plant.stages]
    stage, slot = names.index(_known(pin.stage, names, "stage")), slot_of(index, pin.start)
    open_jobs = [
        n for n, job in enumerate(jobs) if not job.facts[stage] or slot in job.facts[stage]
    ]
    _known(
        pin.variant,
        sorted({jobs[n].variant for n in open_jobs}),
        f"batch with {pin.stage} still to begin of variant",
    )
    return tuple(n for n in open_jobs if jobs[n].variant == pin.variant), stage, slot


def _known(name: str, names: list[str], kind: str) -> str:
    if name not in names:
        raise BadInput(
            f"There is no {kind} {name!r}.", next_step=f"There is {', '.join(names) or 'none'}."
        )
    return name
