"""A planning problem: a request on a grid of slots, as arrays.

Identical batches are counted, not named: a job is a number of like batches whose k-th
start of one stage belongs to the k-th start of the next. Every batch in progress is a
job of its own; its starts are facts on slots before ``now``.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.domain.plant import (
    Bools,
    Floats,
    Ints,
    auxiliary_kw,
    beyond_limits,
    day_ends,
    operators,
    room,
)
from factory_lib.domain.tariff import excess_rule
from factory_lib.errors import BadInput
from factory_lib.planner.request import Order, PlanRequest, of_plant

FIRM_MARKS_H = (1, 2, 4, 8, 16)  # after a firm order is due, it is looked at


@dataclass(frozen=True, eq=False)
class Job:
    """Up to ``count`` like batches; batch ``number`` began in the slots ``facts``.

    A batch in progress that is given up has a count of 0.
    """

    product: str
    count: int
    min_kg: float
    max_kg: float
    facts: tuple[int, ...] = ()
    number: int = 0


@dataclass(frozen=True, eq=False)
class Activity:
    """Something that takes a machine, power or people while it goes on.

    ``run``: a stage runs. ``attend``: people attend it. ``hold``: the machine keeps the
    finished mass. It goes on from ``begin`` slots (by job) after the start of ``stage``
    until ``end`` slots after that of ``end_stage``.
    """

    stage: int
    kind: str
    machine: str
    kw: float
    people: int
    begin: Ints
    end_stage: int
    end: Ints


class Problem:
    """A request on its grid: arrays over ``index``, whose slots before ``now`` are history.

    ``price`` is the whole price by slot, ``market`` and ``toll`` its parts, EUR/MWh, 0 in
    history, which is sunk. ``spare_kw`` is solar power beyond the loads that always run,
    ``saved`` what using it saves, EUR/MWh. ``kelvin`` and ``percent`` are how far the
    room is beyond each stage's limits, ``critical`` where it would spoil a batch.
    ``meter_kw`` is the import without production, negative where the sun gives more;
    ``unavoidable`` the norm of the months' excess without it.

    Orders are looked at after the slots ``marks``; arrays of orders by marks. A kilogram
    delivered at a mark before its order is ``due`` costs ``eur_kg`` there, one lacking at
    a mark at or after it, too. The last orders, never due, are of kilograms beyond all
    others. ``keeps`` counts starts that should stay, by kind, product, stage and slot.
    A batch in progress that cannot go on by itself is given up.

    Raises
    ------
    BadInput
        If the window is empty or off the grid, a price is missing, or a name is not the
        plant's.
    """

    def __init__(self, request: PlanRequest) -> None:
        self.request = request
        self.plant = request.plant
        self.stages = self.plant.stages
        self.slot_s = self.plant.slot_min * 60
        self.slot_h = self.slot_s / HOUR_S
        self._check()
        begin = pd.Timestamp(request.begin)
        self.begun = request.previous[request.previous["start"] < begin]
        slot = pd.Timedelta(seconds=self.slot_s)
        first = min([begin, *self.begun["start"]]).floor(slot)
        self.stamps = pd.date_range(first, request.end, freq=slot, unit="s", name="start")
        self.index = self.stamps[:-1]
        self.now = self.slot(request.begin)
        self.future = np.arange(len(self.index)) >= self.now
        self.jobs = tuple(self._jobs())
        self._lay_stages()
        self.activities = tuple(self._activities())
        self.people = operators(self.plant, self.index, self.slot_s)
        self.most_people = max((shift.operators for shift in self.plant.shifts), default=0)
        self._lay_machines()
        self._lay_prices()
        self._lay_room()
        self._lay_orders()
        masks = self.startable(overtime=True)
        self.give_up([n for n, job in enumerate(self.jobs) if job.facts and not masks[n][-1].any()])

    @property
    def lost(self) -> list[Job]:
        """Return the batches in progress that are given up."""
        return [job for job in self.jobs if job.facts and not job.count]

    def give_up(self, numbers: Collection[int]) -> None:
        """Give up batches in progress, named by the positions of their jobs."""
        jobs = enumerate(self.jobs)
        self.jobs = tuple(replace(job, count=0) if n in numbers else job for n, job in jobs)
        self._lay_keeps()

    def slot(self, instant: datetime) -> int:
        """Return the slot in which ``instant`` lies; it may lie outside of the grid."""
        return int((instant.timestamp() - self.index[0].timestamp()) // self.slot_s)

    def start_eur(self, j: int) -> Floats:
        """Return by stage (rows) and slot what starting it adds to the objective, EUR.

        An activity counts from its begin to the grid's end, less from its end on.
        """
        slack = self.plant.slack
        room = slack.room_eur_k_h * self.kelvin + slack.room_eur_pct_h * self.percent
        slots = np.arange(len(self.index))
        cost = np.zeros(room.shape)
        for activity in self.activities:
            eur_h = (
                activity.kw * self.price / 1000 + (activity.kind == "run") * room[activity.stage]
            )
            to_end = np.append(np.cumsum(eur_h[::-1])[::-1], 0.0) * self.slot_h
            cost[activity.stage] += to_end[np.minimum(slots + activity.begin[j], len(slots))]
            cost[activity.end_stage] -= to_end[np.minimum(slots + activity.end[j], len(slots))]
        return cost

    def startable(self, *, overtime: bool = False) -> list[list[Bools]]:
        """Return by job and stage where it may begin, reached from the stages before.

        Machines, critical room limits, the connection's limit and people of the shifts,
        with ``overtime`` as many as ever, decide.
        Facts stay where they are; where a batch in progress cannot go on, for an outage
        of the machine that it is in as well, the last stage has no start.
        """
        people = np.maximum(self.people, self.most_people * overtime)
        return [self._chain(j, people) for j in range(len(self.jobs))]

    def _chain(self, j: int, people: Ints) -> list[Bools]:
        size = len(self.index)
        slots = np.arange(size)
        facts = self.jobs[j].facts
        free_kw = self.plant.power.limit_kw - self.base_kw + 1e-9
        masks = [slots == fact for fact in facts]
        if facts:  # a machine that fails takes what is in it
            s = len(facts) - 1
            capacity = self.capacity[self.stages[s].machine]
            masks[s] &= (capacity[self.now : facts[s] + self.duration[j, s]] > 0).all()
        for s in range(len(facts), len(self.stages)):
            stage = self.stages[s]
            closed = self.critical[s] | (self.capacity[stage.machine] < 1)
            mask = ahead(closed | (stage.power_kw > free_kw), self.duration[j, s]) == 0
            mask &= ahead(stage.operators > people, self.attended[j, s]) == 0
            mask &= slots + self.duration[j, s] <= size
            if s:  # some start before leads to it
                reach = ahead(masks[s - 1][::-1], self.wait[s - 1] + 1)[::-1]
                mask &= np.append(np.zeros(self.duration[j, s - 1]), reach)[:size] > 0.5
            masks.append(mask & self.future)
        return masks

    def chain_eur(self, j: int, masks: list[Bools]) -> Floats:
        """Return what one batch of a job costs at least by the slot it begins in, EUR.

        Infinite where none can begin. A shortest path over the stages, exact by going
        backwards from the last.
        """
        size = len(self.index)
        cost = np.where(masks, self.start_eur(j), np.inf)
        best: Floats = cost[-1]
        for s in reversed(range(len(masks) - 1)):
            later = np.append(best[self.duration[j, s] :], np.full(size + self.wait[s], np.inf))
            windows = np.lib.stride_tricks.sliding_window_view(later, self.wait[s] + 1)
            best = cost[s] + windows[:size].min(axis=1)
        return best

    def _check(self) -> None:
        request = self.request
        begin, end = map(epoch, (request.begin, request.end))
        if begin % self.slot_s or end % self.slot_s or end < begin + 2 * self.slot_s:
            raise BadInput(
                f"{request.begin} … {request.end} is no window of whole slots of "
                f"{self.plant.slot_min} min."
            )
        stages = [stage.name for stage in self.stages]
        present = {"product": self.plant.variants, "machine": self.plant.machines, "stage": stages}
        for item in (*request.orders, *request.outages, *request.pins):
            for kind, names in present.items():
                name = getattr(item, kind, None)
                if name is not None and name not in names:
                    raise BadInput(f"There is no {kind} {name!r}; there are {', '.join(names)}.")
        if len(of_plant(request.previous, self.plant)) < len(request.previous):
            raise BadInput(
                "A batch of the plan before is not the plant's: its stages are "
                f"{', '.join(stages)}, its products {', '.join(self.plant.variants)}."
            )

    def _jobs(self) -> Iterator[Job]:
        """Yield batches in progress, and of each product as many as could be of use."""
        for number, rows in self.begun.groupby("batch"):
            product, kg = rows.iloc[0][["product", "kg"]]
            facts = tuple(map(self.slot, rows["start"]))
            yield Job(product, 1, kg, kg, facts, int(str(number)))
        kept = Counter(self.request.previous.drop_duplicates("batch")["product"])
        kept.update(pin.product for pin in self.request.pins)
        for product, size in self.plant.variants.items():
            kg = sum(order.kg for order in self.request.orders if order.product == product)
            if count := math.ceil(kg / size.batch_min_kg) + kept[product]:
                yield Job(product, count, size.batch_min_kg, size.batch_max_kg)

    def _lay_stages(self) -> None:
        """Lay how long stages last, are attended (jobs in rows) and may wait."""
        wait_min = [max(stage.wait_min, stage.hold_h * 60) for stage in self.stages]
        self.wait = np.array(wait_min, np.int64) // self.plant.slot_min
        lengths = np.array([self._lengths(job.product) for job in self.jobs], np.int64)
        self.duration, self.attended = lengths.reshape(-1, 2, len(self.stages)).swapaxes(0, 1)

    def _lengths(self, product: str) -> Ints:
        """Return the slots that the stages of a product last, and are attended."""
        own = self.plant.variants[product].duration_min
        minutes = [own.get(stage.name, stage.duration_min) for stage in self.stages]
        whole = {"always": math.inf, "never": 0.0}
        people = [whole.get(stage.attended, stage.attended_min) for stage in self.stages]
        slots = np.ceil(np.array([minutes, np.minimum(people, minutes)]) / self.plant.slot_min)
        return slots.astype(np.int64)

    def _activities(self) -> Iterator[Activity]:
        for s, stage in enumerate(self.stages):
            length = self.duration[:, s]
            at_once = 0 * length
            machine = stage.machine
            yield Activity(s, "run", machine, stage.power_kw, 0, at_once, s, length)
            if stage.attended != "never":
                first = self.attended[:, s]
                yield Activity(s, "attend", "", 0.0, stage.operators, at_once, s, first)
            if stage.hold_h:
                yield Activity(s, "hold", machine, stage.hold_kw, 0, length, s + 1, at_once)

    def _lay_machines(self) -> None:
        """Lay the usable units of each machine; a slot touched by an outage is lost."""
        machines = self.plant.machines.items()
        self.capacity = {name: np.full(len(self.index), count) for name, count in machines}
        for outage in self.request.outages:
            begin = max(self.slot(outage.begin), 0)
            end = max(self.slot(outage.end - timedelta(seconds=1)) + 1, 0)
            self.capacity[outage.machine][begin:end] -= outage.count

    def _lay_room(self) -> None:
        air = np.full((2, len(self.index)), np.nan)  # unknown, and past: no limit
        if self.request.weather is not None:
            laid = laid_on(room(self.request.weather, self.plant.room), self.index)
            air[:, self.future] = laid[:, self.future]
        self.kelvin, self.percent, self.critical = beyond_limits(self.plant, *air)

    def _lay_prices(self) -> None:
        request = self.request
        columns = ["price_eur_mwh", "market_eur_mwh", "toll_eur_mwh"]
        prices = laid_on(request.prices[columns], self.index)
        missing = self.index[np.isnan(prices[0]) & self.future]
        if len(missing):
            local = missing[[0, -1]].tz_convert(self.plant.zone)
            first, last = local.strftime("%a %-d %b %H:%M")
            raise BadInput(
                f"{len(missing)} of {self.future.sum()} slots of the window have no price, "
                f"from {first} to {last}.",
                next_step="Run `factory run ingest` and `factory predict` first.",
            )
        self.price, self.market, self.toll = np.where(self.future, prices, 0.0)
        self.base_kw = auxiliary_kw(self.plant, self.index)
        self.meter_kw = self.base_kw * self.future
        if request.pv_kw is not None:  # an inverter is throttled where importing is paid for
            (pv_kw,) = laid_on(request.pv_kw.to_frame(), self.index)
            self.meter_kw -= np.nan_to_num(pv_kw) * (self.price > 0)
        self.spare_kw = np.maximum(-self.meter_kw, 0.0)
        self.saved = self.price - np.clip(self.price, 0.0, self.plant.pv.surplus_eur_mwh)
        self.excess = excess_rule(
            self.index, request.contract, request.tariff, load_so_far=request.load_so_far
        )
        self.taxed = 1 + request.contract.electricity_tax_pct / 100
        self.unavoidable = self.excess.norm(self.meter_kw)

    def _lay_orders(self) -> None:
        """Lay the orders on marks: midnights, instants they are due, and hours after."""
        request = self.request
        slack = self.plant.slack
        eur = 2 * self.plant.demand.preference_eur_kg_day
        products = sorted({job.product for job in self.jobs})
        never = request.end + timedelta(days=1)
        beyond = [Order(product, math.inf, never, eur) for product in products]
        self.orders = (*sorted(request.orders, key=lambda order: order.due), *beyond)
        rows = [
            (self.slot(o.due), self.slot(o.latest or o.due), o.firm, o.eur_kg_day, o.kg)
            for o in self.orders
        ]
        columns = np.array(rows, float).reshape(-1, 5).T[:, :, np.newaxis]
        due, latest, firm, wish, self.order_kg = columns
        after = due + firm * np.array(FIRM_MARKS_H) * HOUR_S // self.slot_s
        days = day_ends(self.index, self.slot_s, self.plant.zone)
        size = len(self.index)
        marks = np.unique([*days, *due.flat, *latest.flat, *after.flat, size]).astype(np.int64)
        self.marks = marks[(marks > self.now) & (marks <= size)]
        self.due = due <= self.marks
        self.late = self.due & ((latest <= self.marks) | (self.marks == size))
        must = np.where(firm, slack.firm_eur_kg_day, slack.late_eur_kg_day)
        self.mark_days = np.append(np.diff(self.marks) * self.slot_s / DAY_S, 1.0)
        self.eur_kg = np.where(self.late, must, wish) * self.mark_days

    def _lay_keeps(self) -> None:
        """Count pinned starts, and those of the plan before that still lie ahead."""
        self.keep_eur = dict.fromkeys(("pin", "frozen"), self.plant.slack.pin_eur)
        self.keep_eur["moved"] = self.plant.replanning.move_eur
        keeps: Counter[tuple[str, str, int, int]] = Counter()
        names = [stage.name for stage in self.stages]
        frozen = self.now + self.plant.replanning.freeze_h / self.slot_h
        previous = self.request.previous
        previous = previous[~previous["batch"].isin([job.number for job in self.lost])]
        columns = (previous[name] for name in ("product", "stage", "start"))
        for product, stage, start in zip(*columns, strict=True):
            slot = self.slot(start)
            keeps["frozen" if slot < frozen else "moved", product, names.index(stage), slot] += 1
        for pin in self.request.pins:
            keeps["pin", pin.product, names.index(pin.stage), self.slot(pin.start)] = 1
        inside = range(self.now, len(self.index))
        self.keeps = {keep: count for keep, count in keeps.items() if keep[-1] in inside}


def ahead(values: Floats | Bools, length: int) -> Floats:
    """Return the sum of ``values`` over up to ``length`` slots from each."""
    total = np.concatenate([[0.0], np.cumsum(values), np.full(length, np.sum(values))])
    return np.asarray(total[length : length + len(values)] - total[: len(values)])


def laid_on(frame: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Lay a regular frame on an index, a row for each column: coarser values are repeated.

    Finer ones are averaged where all are known.
    """
    slot = index[1] - index[0]
    step = frame.index[1] - frame.index[0]
    if step < slot:
        parts = frame.groupby(pd.DatetimeIndex(frame.index).floor(slot))
        frame = parts.mean().where(parts.count() == slot // step)
    return frame.reindex(index.floor(max(step, slot))).to_numpy(float).T
