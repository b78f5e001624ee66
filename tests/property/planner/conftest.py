"""Random factories, an independent checker of their plans, and an independent optimum.

Nothing here uses the optimiser's own arithmetic. The checker walks a plan's table slot by
slot in plain Python. The optimum is another formulation: one whole-number unknown for every
possible chain of a batch, enumerated.
``FACTORY_STRESS`` multiplies the number of random cases.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from factory_lib.domain import tariff as tariffs
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import Order, Outage, Pin, PlanRequest
from factory_lib.settings.plant import (
    WEEKDAYS,
    Auxiliary,
    Demand,
    Photovoltaics,
    Plant,
    Power,
    RoomLimits,
    Shift,
    Slack,
    Stage,
    Variant,
    WorksCalendar,
)
from factory_lib.settings.tariff import PERIODS, ContractSettings
from tests.support.batches import Batch, batches, stages_of

MADRID = ZoneInfo("Europe/Madrid")
DAYS = [
    date(2024, 3, 30),
    date(2024, 10, 26),
    date(2024, 2, 28),
    date(2025, 7, 30),
    date(2024, 12, 31),
]
TABLE = Path(__file__).parents[3] / "config" / "tariffs_es.csv"
TARIFF = tariffs.read_tariff(TABLE, "3.0TD", year=2026)
RAW = pd.read_csv(TABLE).query("access == '3.0TD' and since == '2026-01-01'").set_index("period")
HOUR = timedelta(hours=1)


@cache
def period_of(at: datetime) -> int:
    """Return the tariff period of an instant, which each schedule of an enumeration asks for."""
    return int(tariffs.periods(pd.DatetimeIndex([at]), "3.0TD")[0])


class World:
    """A request in plain words: what every slot allows and costs, from formulas of its own."""

    def __init__(self, request: PlanRequest) -> None:
        self.request, self.plant = request, request.plant
        self.step = timedelta(minutes=self.plant.slot_min)
        self.previous = batches(request.previous)
        self.begun = [
            replace(batch, starts={n: at for n, at in batch.starts.items() if at < request.begin})
            for batch in self.previous
            if min(batch.starts.values()) < request.begin
        ]
        self.hours = self.plant.slot_min / 60
        self.slots = list(self._between(request.begin, request.end))
        self.price = {at: self._price(at) for at in self.slots}
        self.base = {at: self._base_kw(at) for at in self.slots}
        self.sun = {at: self._sun_kw(at) for at in self.slots}
        self.present = {at: self._present(at) for at in self.slots}
        self.most_people = max((shift.operators for shift in self.plant.shifts), default=0)
        self.units = {
            (name, at): self._units(name, at) for name in self.plant.machines for at in self.slots
        }

    def _between(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        while begin < end:
            yield begin
            begin += self.step

    def _price(self, at: datetime) -> float:
        return float(self.request.prices["price_eur_mwh"][pd.Timestamp(at).floor("h")])

    def _base_kw(self, at: datetime) -> float:
        wall, kw = at.astimezone(MADRID).time(), 0.0
        for load in self.plant.auxiliaries:
            inside = load.begin <= wall < load.end
            kw += load.power_kw * (
                inside if load.begin < load.end else wall >= load.begin or wall < load.end
            )
        return kw

    def _sun_kw(self, at: datetime) -> float:
        if self.request.pv_kw is None or self.price[at] <= 0:
            return 0.0
        return float(self.request.pv_kw[pd.Timestamp(at).floor("h")])

    def _present(self, at: datetime) -> int:
        day, total = at.astimezone(MADRID).date(), 0
        for begins in (day - timedelta(days=1), day):
            for shift in self.plant.shifts:
                if (
                    WEEKDAYS[begins.weekday()] in shift.days
                    and begins not in self.plant.calendar.closed
                ):
                    ends = begins + timedelta(days=shift.end <= shift.begin)
                    first = datetime.combine(begins, shift.begin, MADRID).astimezone(UTC)
                    last = datetime.combine(ends, shift.end, MADRID).astimezone(UTC)
                    total += shift.operators * (first <= at and at + self.step <= last)
        return total

    def _units(self, machine: str, at: datetime) -> int:
        out = [
            o.count
            for o in self.request.outages
            if o.machine == machine and o.begin < at + self.step and at < o.end
        ]
        return max(0, self.plant.machines[machine] - sum(out))

    def room(self, at: datetime) -> tuple[float, float]:
        """Kelvin and relative humidity of the room, from formulas of its own; NaN where unknown."""
        weather, model = self.request.weather, self.plant.room
        if weather is None or pd.Timestamp(at).floor("h") not in weather.index:
            return math.nan, math.nan
        outside_c, outside_pct = weather.loc[
            pd.Timestamp(at).floor("h"), ["temperature_c", "humidity_pct"]
        ]
        room_c = min(max(model.setpoint_c, outside_c - model.cools_k), outside_c + model.heats_k)

        def full(celsius: float) -> float:
            return 6.1094 * math.exp(17.625 * celsius / (celsius + 243.04))

        def water(hpa: float) -> float:
            return 621.98 * hpa / (model.pressure_hpa - hpa)

        outside = water(outside_pct / 100 * full(outside_c))
        target = water(model.setpoint_humidity_pct / 100 * full(room_c))
        inside = outside if outside <= target else max(target, outside - model.dries_g_kg)
        return room_c, min(
            100.0, 100 * inside * model.pressure_hpa / (621.98 + inside) / full(room_c)
        )

    def minutes(self, product: str, stage: Stage) -> int:
        """How many minutes of whole slots a stage of a product takes."""
        length = self.plant.variants[product].duration_min.get(stage.name, stage.duration_min)
        return math.ceil(length / self.plant.slot_min) * self.plant.slot_min

    def attended(self, product: str, stage: Stage) -> int:
        """For how many minutes of whole slots a stage needs its people."""
        first = math.ceil(stage.attended_min / self.plant.slot_min) * self.plant.slot_min
        full = self.minutes(product, stage)
        return {"never": 0, "start": min(first, full), "always": full}[stage.attended]

    def takes(self, product: str, starts: list[datetime]) -> Iterator[tuple[str, datetime, float]]:
        """Yield what a whole chain takes.

        (resource, slot, amount) for machines, people, kw, room, from begin on.
        """
        for n, (stage, start) in enumerate(zip(self.plant.stages, starts, strict=True)):
            end = start + timedelta(minutes=self.minutes(product, stage))
            free = starts[n + 1] if stage.hold_h else end
            for at in self._between(start, max(free, end)):
                if at < self.request.begin:
                    continue
                yield stage.machine, at, 1.0
                yield "kw", at, stage.power_kw if at < end else stage.hold_kw
                if at < end:
                    if at < start + timedelta(minutes=self.attended(product, stage)):
                        yield "people", at, float(stage.operators)
                    celsius, percent = self.room(at)
                    limit = stage.room
                    if celsius > limit.temperature_critical_c and start >= self.request.begin:
                        yield "spoilt", at, 1.0
                    beyond = max(
                        0.0, celsius - limit.temperature_max_c, limit.temperature_min_c - celsius
                    )
                    yield "kelvin", at, 0.0 if math.isnan(beyond) else beyond
                    wet = max(0.0, percent - limit.humidity_max_pct)
                    yield "percent", at, 0.0 if math.isnan(wet) else wet

    def facts(self) -> dict[tuple[str, datetime], float]:
        """What stages that have begun take for certain."""
        taken: dict[tuple[str, datetime], float] = defaultdict(float)
        for batch in self.begun:
            for stage in self.plant.stages[: len(batch.starts)]:
                start = batch.starts[stage.name]
                end = start + timedelta(minutes=self.minutes(batch.product, stage))
                for at in self._between(max(start, self.request.begin), end):
                    taken[stage.machine, at] += 1
                    taken["kw", at] += stage.power_kw
                    if at < start + timedelta(minutes=self.attended(batch.product, stage)):
                        taken["people", at] += stage.operators
        return taken

    # -- money -------------------------------------------------------------------------
    def energy_eur(self, kw: dict[datetime, float]) -> float:
        """What production adds to the energy bill, surplus taken into account."""
        total = 0.0
        for at in self.slots:
            for load, sign in ((self.base[at] + kw.get(at, 0.0), 1), (self.base[at], -1)):
                net = (load - self.sun[at]) * self.hours / 1000
                surplus = min(self.plant.pv.surplus_eur_mwh, max(self.price[at], 0.0))
                total += sign * (net * self.price[at] if net >= 0 else net * surplus)
        return total

    def excess_eur(self, kw: dict[datetime, float]) -> float:
        """What production adds to the months' excess charge, by the legal rule."""
        contract = self.request.contract
        loads: dict[tuple[int, int, int], list[list[float]]] = defaultdict(lambda: [[], []])

        def note(at: datetime, with_kw: float, without_kw: float, quarters: int) -> None:
            local = at.astimezone(MADRID)
            number = period_of(at)
            pair = loads[local.year, local.month, number]
            limit = contract.kw[f"P{number}"]
            pair[0] += [max(0.0, with_kw - limit)] * quarters
            pair[1] += [max(0.0, without_kw - limit)] * quarters

        if self.request.load_so_far is not None:
            for stamp, load in self.request.load_so_far.items():
                note(stamp.to_pydatetime(), load, load, 4)
        for at in self.slots:
            base = self.base[at] - self.sun[at]
            note(at, base + kw.get(at, 0.0), base, int(self.hours * 4))
        total = 0.0
        for (year, month, number), (after, before) in loads.items():
            row = RAW.loc[f"P{number}"]
            if max(contract.kw.values()) <= 50:
                rate = row["excess_eur_kw_day"] * pd.Period(f"{year}-{month:02}").days_in_month
                total += rate * (max(after) - max(before))
            else:
                rate = contract.excess_eur_kw.get(f"P{number}")
                if rate is None:
                    rate = (
                        1.4064
                        * row["power_toll_eur_kw_year"]
                        / RAW.loc["P1", "power_toll_eur_kw_year"]
                    )
                total += rate * (
                    math.sqrt(sum(x * x for x in after)) - math.sqrt(sum(x * x for x in before))
                )
        return total * (1 + contract.electricity_tax_pct / 100)

    def marks(self) -> tuple[list[datetime], list[float]]:
        """The instants at which orders are looked at, and the days each stands for."""
        begin, end = self.request.begin, self.request.end
        found = {end}
        day = begin.astimezone(MADRID).date()
        while day <= end.astimezone(MADRID).date():
            day += timedelta(days=1)
            found.add(datetime.combine(day, time(), MADRID).astimezone(UTC))
        for order in self.request.orders:
            found |= {order.due, order.latest or order.due}
            found |= {order.due + h * HOUR for h in (1, 2, 4, 8, 16)} if order.firm else set()
        marks = sorted(at for at in found if begin < at <= end)
        lengths = [(b - a) / timedelta(days=1) for a, b in itertools.pairwise(marks)]
        return marks, [*lengths, 1.0]

    def order_eur(self, order: Order, mark: datetime, last: bool) -> tuple[float, bool]:
        """Price of a kilogram at a mark per day, and whether it lacks (else it is early)."""
        if mark < order.due:
            return order.eur_kg_day, False
        if mark >= (order.latest or order.due) or last:
            slack = self.plant.slack
            return slack.firm_eur_kg_day if order.firm else slack.late_eur_kg_day, True
        return order.eur_kg_day, True

    def orders_lp(
        self, product: str
    ) -> tuple[list[datetime], np.ndarray, np.ndarray, np.ndarray, float]:
        """The orders as a linear program over delivered kilograms (orders by marks) and stock.

        Returns marks, costs, upper bounds, rows that keep deliveries from falling, and a constant.
        """
        marks, days = self.marks()
        orders = [order for order in self.request.orders if order.product == product]
        cost, upper, constant = [], [], 0.0
        for order in orders:
            for n, mark in enumerate(marks):
                eur, lacking = self.order_eur(order, mark, n == len(marks) - 1)
                cost.append(-eur * days[n] if lacking else eur * days[n])
                constant += eur * days[n] * order.kg if lacking else 0.0
                upper.append(order.kg)
        stock = 2 * self.plant.demand.preference_eur_kg_day
        cost += [stock * length for length in days]
        upper += [math.inf] * len(marks)
        falls = np.zeros((len(orders) * (len(marks) - 1), len(cost)))
        for row, (o, n) in enumerate(itertools.product(range(len(orders)), range(len(marks) - 1))):
            falls[row, o * len(marks) + n], falls[row, o * len(marks) + n + 1] = 1, -1
        return marks, np.array(cost), np.array(upper), falls, constant

    def orders_eur(self, product: str, made: list[tuple[datetime, float]]) -> float:
        """Least price of the orders of a product for batches (end, kg)."""
        marks, cost, upper, falls, constant = self.orders_lp(product)
        count = len(cost) // len(marks)
        equal = np.zeros((len(marks), len(cost)))
        for n in range(len(marks)):
            equal[n, [o * len(marks) + n for o in range(count)]] = 1
        totals = [sum(kg for end, kg in made if end <= mark) for mark in marks]
        bounds = [(0, None if math.isinf(top) else top) for top in upper]
        found = linprog(
            cost, A_ub=falls, b_ub=np.zeros(len(falls)), A_eq=equal, b_eq=totals, bounds=bounds
        )
        assert found.status == 0
        return float(found.fun) + constant


class Checker(World):
    """Recomputes everything a plan promises, from the request and the plan's table alone."""

    def check(self, plan: Plan) -> float:
        """Return the plan's objective; a broken hard limit is an AssertionError."""
        plant = self.plant
        used: dict[tuple[str, datetime], float] = defaultdict(float)
        occupied: dict[tuple[str, str], set[datetime]] = defaultdict(set)
        ends: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
        starts_of: dict[tuple[str, str, datetime], int] = defaultdict(int)
        eur = 0.0
        begun = {batch.number: batch for batch in self.begun}
        numbers = [batch.number for batch in batches(plan)]
        assert len(set(numbers)) == len(numbers), "numbers are given twice"
        for batch in batches(plan):
            starts = [batch.starts[stage.name] for stage in plant.stages]
            self._chain(batch, starts, begun.get(batch.number))
            spec = plant.variants[batch.product]
            least, most = (
                (begun[batch.number].kg,) * 2
                if batch.number in begun
                else (spec.batch_min_kg, spec.batch_max_kg)
            )
            assert least - 1e-6 <= batch.kg <= most + 1e-6
            ends[batch.product].append(
                (
                    starts[-1] + timedelta(minutes=self.minutes(batch.product, plant.stages[-1])),
                    batch.kg,
                )
            )
            for name, start in batch.starts.items():
                starts_of[batch.product, name, start] += 1
            for resource, at, amount in self.takes(batch.product, starts):
                assert resource != "spoilt", f"a room that spoils at {at}"
                used[resource, at] += amount
                if resource in plant.machines:
                    occupied[resource, batch.product].add(at)
        lost = [batch for batch in self.begun if batch.number not in numbers]
        eur += sum(batch.kg * plant.slack.lost_eur_kg for batch in lost)
        self._limits(used)
        self._cleaned(occupied)
        facts = self.facts()
        for at in self.slots:
            free = max(self.present[at], facts["people", at])
            extra = max(0.0, used["people", at] - free)
            assert extra <= max(0, self.most_people - self.present[at]) + 1e-9, f"people at {at}"
            eur += extra * self.hours * plant.slack.overtime_eur_h
        kw = {at: used["kw", at] for at in self.slots}
        eur += self.energy_eur(kw) + self.excess_eur(kw)
        eur += sum(used["kelvin", at] for at in self.slots) * self.hours * plant.slack.room_eur_k_h
        eur += (
            sum(used["percent", at] for at in self.slots) * self.hours * plant.slack.room_eur_pct_h
        )
        for product in plant.variants:
            eur += self.orders_eur(product, ends[product])
        return eur + self._moved(starts_of)

    def _chain(self, batch: Batch, starts: list[datetime], begun: Batch | None) -> None:
        stages = self.plant.stages
        for n, stage in enumerate(stages):
            end = starts[n] + timedelta(minutes=self.minutes(batch.product, stage))
            fact = begun is not None and stage.name in begun.starts
            if fact:
                assert starts[n] == begun.starts[stage.name], "a fact was moved"
            else:
                assert starts[n] >= self.request.begin, "something begins before the window"
                assert end <= self.request.end, "something ends after the window"
            both_facts = (
                begun is not None and n + 1 < len(stages) and stages[n + 1].name in begun.starts
            )
            if n + 1 < len(stages) and not both_facts:
                wait = starts[n + 1] - end
                longest = timedelta(minutes=max(stage.wait_min, stage.hold_h * 60))
                assert timedelta(0) <= wait <= longest, f"{stage.name} waits {wait}"

    def _limits(self, used: dict[tuple[str, datetime], float]) -> None:
        facts = self.facts()
        for at in self.slots:
            for machine in self.plant.machines:
                allowed = max(self.units[machine, at], facts[machine, at])
                assert used[machine, at] <= allowed, f"{used[machine, at]} {machine} at {at}"
            allowed = max(self.plant.power.limit_kw - self.base[at], facts["kw", at])
            assert used["kw", at] <= max(allowed, 0.0) + 1e-6, f"{used['kw', at]} kW at {at}"

    def _cleaned(self, occupied: dict[tuple[str, str], set[datetime]]) -> None:
        for machine, minutes in self.plant.cleaning_min.items():
            products = [product for name, product in occupied if name == machine]
            for one, other in itertools.permutations(products, 2):
                lags = range(math.ceil(minutes / self.plant.slot_min) + 1)
                for at in occupied[machine, one]:
                    assert not any(
                        at + lag * self.step in occupied[machine, other] for lag in lags
                    ), f"dirty {machine}"

    def _moved(self, starts: dict[tuple[str, str, datetime], int]) -> float:
        request, plant, eur = self.request, self.plant, 0.0
        for pin in request.pins:
            eur += plant.slack.pin_eur * (starts[pin.product, pin.stage, pin.start] < 1)
        planned: dict[tuple[str, str, datetime], int] = defaultdict(int)
        for batch in self.previous:
            for name, at in batch.starts.items():
                planned[batch.product, name, at] += request.begin <= at < request.end
        frozen = request.begin + timedelta(hours=plant.replanning.freeze_h)
        for key, count in planned.items():
            price = plant.slack.pin_eur if key[2] < frozen else plant.replanning.move_eur
            eur += price * max(0, count - starts[key])
        return eur


class Optimum(World):
    """The least objective over all plans, from a program over whole chains.

    The excess rule must be linear.
    """

    def least(self) -> float:
        """Return the optimum: without overtime and, where kilograms are late then, with it."""
        eur, late = self._solve(overtime=False)
        if late > 1e-6:
            eur = min(eur, self._solve(overtime=True)[0])
        return eur

    def chains(
        self, batch: Batch | None, product: str, people: dict[datetime, int]
    ) -> Iterator[list[datetime]]:
        """Yield every chain of a batch (in progress) that is possible alone."""
        facts = list(batch.starts.values()) if batch else []
        if batch and self._fails(batch):
            return

        def go_on(starts: list[datetime]) -> Iterator[list[datetime]]:
            n = len(starts)
            if n == len(self.plant.stages):
                yield starts
                return
            choices = self.slots
            if n:
                stage = self.plant.stages[n - 1]
                end = starts[-1] + timedelta(minutes=self.minutes(product, stage))
                longest = timedelta(minutes=max(stage.wait_min, stage.hold_h * 60))
                choices = [
                    at
                    for at in self._between(end, end + longest + self.step)
                    if at >= self.request.begin
                ]
            for at in choices:
                stage = self.plant.stages[n]
                until = at + timedelta(minutes=self.minutes(product, stage))
                slots = list(self._between(at, until))
                attended = at + timedelta(minutes=self.attended(product, stage))
                fits = until <= self.request.end and all(
                    self.units[stage.machine, slot] > 0
                    and self.base[slot] + stage.power_kw <= self.plant.power.limit_kw + 1e-9
                    and not self.room(slot)[0] > stage.room.temperature_critical_c
                    and (slot >= attended or people[slot] >= stage.operators)
                    for slot in slots
                )
                if fits:
                    yield from go_on([*starts, at])

        yield from go_on(facts)

    def _fails(self, batch: Batch) -> bool:
        """Whether the machine that a batch in progress is in fails before it is through."""
        stage = self.plant.stages[len(batch.starts) - 1]
        end = batch.starts[stage.name] + timedelta(minutes=self.minutes(batch.product, stage))
        slots = self._between(max(self.request.begin, batch.starts[stage.name]), end)
        return any(self.units[stage.machine, at] < 1 for at in slots)

    def _solve(self, *, overtime: bool) -> tuple[float, float]:
        request, plant = self.request, self.plant
        people = {at: max(n, self.most_people * overtime) for at, n in self.present.items()}
        columns: list[tuple[str, list[datetime], float, float]] = []
        groups: list[tuple[list[int], float]] = []
        constant = 0.0
        for batch in self.begun:
            mine = list(self.chains(batch, batch.product, people))
            if not mine and not list(
                self.chains(batch, batch.product, dict.fromkeys(people, 10**6))
            ):
                constant += batch.kg * plant.slack.lost_eur_kg
                continue
            groups.append((list(range(len(columns), len(columns) + len(mine))), 1.0))
            columns += [(batch.product, chain, batch.kg, batch.kg) for chain in mine]
        asked = (*request.orders, *request.pins, *self.previous)
        for product in {item.product for item in asked}:
            spec = plant.variants[product]
            columns += [
                (product, chain, spec.batch_min_kg, spec.batch_max_kg)
                for chain in self.chains(None, product, people)
            ]
        program = _Program(len(columns))
        for mine, number in groups:
            program.row(dict.fromkeys(mine, 1.0), number, number)
        constant += self._resources(program, columns, people)
        constant += self._orders(program, columns)
        self._keep(program, columns)
        found = program.solve()
        if found is None:
            return math.inf, math.inf
        return found.fun + constant, self._late(program, found.x)

    def _resources(
        self, program: _Program, columns: list[Any], people: dict[datetime, int]
    ) -> float:
        plant, facts = self.plant, self.facts()
        used: dict[tuple[str, datetime], dict[int, float]] = defaultdict(lambda: defaultdict(float))
        by_product: dict[tuple[str, str, datetime], dict[int, float]] = defaultdict(dict)
        for n, (product, chain, _, _) in enumerate(columns):
            for resource, at, amount in self.takes(product, chain):
                used[resource, at][n] += amount
                if resource in plant.machines:
                    by_product[resource, product, at][n] = 1.0
        for (resource, at), row in used.items():
            if resource in plant.machines:
                program.row(row, high=max(self.units[resource, at], facts[resource, at]))
            if resource == "people":
                extra = program.column(
                    plant.slack.overtime_eur_h * self.hours, people[at] - self.present[at]
                )
                program.row({**row, extra: -1.0}, high=max(self.present[at], facts["people", at]))
            price = {"kelvin": plant.slack.room_eur_k_h, "percent": plant.slack.room_eur_pct_h}.get(
                resource, 0.0
            )
            for n, amount in row.items():
                program.cost[n] += price * amount * self.hours
        for machine, minutes in plant.cleaning_min.items():
            for (name, one, at), row in list(by_product.items()):
                for lag in range(math.ceil(minutes / plant.slot_min) + 1):
                    for other in plant.variants:
                        later = by_product.get((machine, other, at + lag * self.step), {})
                        if name == machine and other != one and later:
                            program.row({**row, **later}, high=1.0)
        return self._power(program, used)

    def _power(self, program: _Program, used: dict[Any, dict[int, float]]) -> float:
        """Energy by slot as a function of two pieces, and the linear excess rule."""
        contract, facts = self.request.contract, self.facts()
        peaks: dict[tuple[int, int], int] = {}
        for at in self.slots:
            row = dict(used["kw", at])
            program.row(
                row, high=max(self.plant.power.limit_kw - self.base[at], facts["kw", at], 0.0)
            )
            price = self.price[at] * self.hours / 1000
            spare = max(0.0, self.sun[at] - self.base[at])
            surplus = (
                min(self.plant.pv.surplus_eur_mwh, max(self.price[at], 0.0)) * self.hours / 1000
            )
            own = program.column(surplus - price, spare)
            program.row({**{n: -kw for n, kw in row.items()}, own: 1.0}, high=0.0)
            for n, kw in row.items():
                program.cost[n] += price * kw
            local = at.astimezone(MADRID)
            number = int(tariffs.periods(pd.DatetimeIndex([at]), "3.0TD")[0])
            if local.month * 10 + number not in peaks:
                rate = (
                    RAW.loc[f"P{number}", "excess_eur_kw_day"]
                    * pd.Period(f"{local.year}-{local.month:02}").days_in_month
                )
                least = self._peak_without(local.month, number)
                tax = 1 + contract.electricity_tax_pct / 100
                peaks[local.month * 10 + number] = program.column(rate * tax, low=least)
                program.offset -= rate * tax * least
            peak = peaks[local.month * 10 + number]
            room = contract.kw[f"P{number}"] - self.base[at] + self.sun[at]
            program.row({**row, peak: -1.0}, high=room)
        return program.offset

    def _peak_without(self, month: int, number: int) -> float:
        limit, loads = self.request.contract.kw[f"P{number}"], [0.0]
        points = [(at, self.base[at] - self.sun[at]) for at in self.slots]
        if self.request.load_so_far is not None:
            points += [
                (stamp.to_pydatetime(), kw) for stamp, kw in self.request.load_so_far.items()
            ]
        for at, kw in points:
            period = int(tariffs.periods(pd.DatetimeIndex([at]), "3.0TD")[0])
            if at.astimezone(MADRID).month == month and period == number:
                loads.append(kw - limit)
        return max(loads)

    def _orders(self, program: _Program, columns: list[Any]) -> float:
        constant, program.late = 0.0, []
        for product in self.plant.variants:
            marks, cost, upper, falls, base = self.orders_lp(product)
            constant += base
            mine = [program.column(eur, top) for eur, top in zip(cost, upper, strict=True)]
            for row in falls:
                program.row({mine[n]: row[n] for n in np.flatnonzero(row)}, high=0.0)
            count = len(cost) // len(marks) - 1
            orders = [order for order in self.request.orders if order.product == product]
            before: dict[int, float] = {}
            for m, mark in enumerate(marks):
                done: dict[int, tuple[float, float]] = {}
                for n, (of, chain, least, most) in enumerate(columns):
                    end = chain[-1] + timedelta(minutes=self.minutes(of, self.plant.stages[-1]))
                    if of == product and end <= mark and (m == 0 or end > marks[m - 1]):
                        done[n] = (least, most)
                total = {mine[o * len(marks) + m]: 1.0 for o in range(count + 1)}
                made = {**total, **before}
                program.row({**made, **{n: -low for n, (low, _) in done.items()}}, low=0.0)
                program.row({**made, **{n: -high for n, (_, high) in done.items()}}, high=0.0)
                before = dict.fromkeys(total, -1.0)
                for o, order in enumerate(orders):
                    if mark >= (order.latest or order.due) or (
                        m == len(marks) - 1 and mark >= order.due
                    ):
                        program.late.append((mine[o * len(marks) + m], order.kg))
        return constant

    def _late(self, program: _Program, solution: np.ndarray) -> float:
        return sum(max(0.0, kg - solution[n] - 1e-6) for n, kg in program.late)

    def _keep(self, program: _Program, columns: list[Any]) -> None:
        request, plant = self.request, self.plant
        names = [stage.name for stage in plant.stages]
        wanted: dict[tuple[str, str, datetime], list[float]] = defaultdict(lambda: [0, 0.0])
        frozen = request.begin + timedelta(hours=plant.replanning.freeze_h)
        for batch in self.previous:
            for name, at in batch.starts.items():
                if request.begin <= at < request.end:
                    price = plant.slack.pin_eur if at < frozen else plant.replanning.move_eur
                    wanted[batch.product, name, at] = [
                        wanted[batch.product, name, at][0] + 1,
                        price,
                    ]
        rows = [(key, count, price) for key, (count, price) in wanted.items()]
        rows += [
            ((pin.product, pin.stage, pin.start), 1, plant.slack.pin_eur) for pin in request.pins
        ]
        for (product, name, at), count, price in rows:
            stage = names.index(name)
            starts = {
                n: 1.0
                for n, (of, chain, _, _) in enumerate(columns)
                if of == product and chain[stage] == at
            }
            gone = program.column(price, count)
            program.row({**starts, gone: 1.0}, low=count)


class Enumeration(Optimum):
    """The least objective over every schedule of at most two batches, by the exact excess rule."""

    def least(self) -> float:
        """Return the optimum without overtime; orders of one product, nothing begun or kept."""
        (product,) = {order.product for order in self.request.orders}
        chains = list(self.chains(None, product, self.present))
        alone = [self._taken([chain], product) for chain in chains]
        best = math.inf
        for number in range(3):
            for some in itertools.combinations_with_replacement(range(len(chains)), number):
                used: dict[tuple[str, datetime], float] = defaultdict(float)
                for n in some:
                    for key, amount in alone[n].items():
                        used[key] += amount
                if self._fits(used):
                    ends = tuple(sorted(self._end(product, chains[n]) for n in some))
                    best = min(best, self._priced(used) + self._filled(product, ends))
        return best

    def _taken(self, chains: list[Any], product: str) -> dict[tuple[str, datetime], float]:
        used: dict[tuple[str, datetime], float] = defaultdict(float)
        for chain in chains:
            for resource, at, amount in self.takes(product, chain):
                used[resource, at] += amount
        return used

    def _end(self, product: str, chain: list[datetime]) -> datetime:
        return chain[-1] + timedelta(minutes=self.minutes(product, self.plant.stages[-1]))

    def _fits(self, used: dict[tuple[str, datetime], float]) -> bool:
        for (resource, at), amount in used.items():
            if resource in self.plant.machines and amount > self.units[resource, at]:
                return False
            if resource == "people" and amount > self.present[at]:
                return False
            if resource == "kw" and amount > self.plant.power.limit_kw - self.base[at] + 1e-9:
                return False
        return True

    def _priced(self, used: dict[tuple[str, datetime], float]) -> float:
        kw = {at: used[resource, at] for resource, at in list(used) if resource == "kw"}
        eur = self.energy_eur(kw) + self.excess_eur(kw)
        slack = self.plant.slack
        for (resource, _), amount in used.items():
            price = {"kelvin": slack.room_eur_k_h, "percent": slack.room_eur_pct_h}.get(resource, 0)
            eur += price * amount * self.hours
        return eur

    def _filled(self, product: str, ends: tuple[datetime, ...]) -> float:
        """Return the least price of the orders, the kilograms of the batches being free."""
        if ends not in self._known:
            marks, cost, upper, falls, constant = self.orders_lp(product)
            spec, size = self.plant.variants[product], len(cost)
            bounds = [(0, None if math.isinf(top) else top) for top in upper]
            bounds += [(spec.batch_min_kg, spec.batch_max_kg)] * len(ends)
            equal = np.zeros((len(marks), len(bounds)))
            for n, mark in enumerate(marks):
                equal[n, [o * len(marks) + n for o in range(size // len(marks))]] = 1
                equal[n, size:] = [-float(end <= mark) for end in ends]
            found = linprog(
                [*cost, *[0.0] * len(ends)],
                A_ub=np.pad(falls, ((0, 0), (0, len(ends)))),
                b_ub=np.zeros(len(falls)),
                A_eq=equal,
                b_eq=np.zeros(len(marks)),
                bounds=bounds,
            )
            assert found.status == 0
            self._known[ends] = float(found.fun) + constant
        return self._known[ends]

    def __init__(self, request: PlanRequest) -> None:
        super().__init__(request)
        self._known: dict[tuple[datetime, ...], float] = {}


class _Program:
    """A program written row by row."""

    def __init__(self, whole: int) -> None:
        self.whole, self.cost, self.low, self.high = (
            whole,
            [0.0] * whole,
            [0.0] * whole,
            [10.0] * whole,
        )
        self.rows: list[tuple[dict[int, float], float, float]] = []
        self.offset, self.late = 0.0, []

    def column(self, cost: float, high: float = math.inf, low: float = 0.0) -> int:
        self.cost.append(cost)
        self.low.append(low)
        self.high.append(high)
        return len(self.cost) - 1

    def row(self, terms: dict[int, float], low: float = -math.inf, high: float = math.inf) -> None:
        self.rows.append((terms, low, high))

    def solve(self) -> Any:
        from scipy.sparse import coo_array

        entries = [
            (i, n, value) for i, (terms, _, _) in enumerate(self.rows) for n, value in terms.items()
        ]
        i, n, value = (np.array(part) for part in zip(*entries, strict=True))
        matrix = coo_array(
            (value, (i.astype(int), n.astype(int))), shape=(len(self.rows), len(self.cost))
        ).tocsr()
        integrality = np.concatenate([np.ones(self.whole), np.zeros(len(self.cost) - self.whole)])
        found = milp(
            np.array(self.cost),
            integrality=integrality,
            bounds=Bounds(self.low, self.high),
            constraints=LinearConstraint(
                matrix, [row[1] for row in self.rows], [row[2] for row in self.rows]
            ),
            options={"mip_rel_gap": 1e-5, "time_limit": 60},
        )
        assert found.status in (0, 2), found.message
        return found if found.x is not None else None


def random_request(seed: int, *, linear: bool = False) -> PlanRequest:
    """Return a random factory with a window of one to two days.

    ``linear`` keeps to contracts up to 50 kW.
    """
    rng = np.random.default_rng(seed)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    slot = 60 if chance(0.8) or linear else 15
    products = ["plain", "dark"] if chance(0.4) else ["plain"]
    stages, machines = _stages(rng, slot)
    shifts = _shifts(rng)
    size = (
        float(rng.choice([30, 45])) if linear or chance(0.4) else float(rng.choice([60, 90, 150]))
    )
    limit = size + float(rng.choice([0, 20, 60])) if chance(0.5) else 1e6
    auxiliaries = (
        Auxiliary("hall", float(rng.integers(2, 9))),
        Auxiliary("light", 3.0, time(6), time(22)),
    )
    largest = max(stage.power_kw for stage in stages)
    plant = Plant(
        name="random",
        stages=stages,
        machines=machines,
        variants={
            name: Variant(50.0, 100.0, {stages[0].name: 120} if name == "dark" else {})
            for name in products
        },
        shifts=shifts,
        demand=Demand(),
        power=Power(max(limit, largest + 12)),
        calendar=WorksCalendar(public_holidays=False),
        auxiliaries=auxiliaries,
        slack=Slack(pin_eur=float(rng.choice([50, 500]))),
        pv=Photovoltaics(kwp=50.0, surplus_eur_mwh=float(rng.choice([0, 40]))),
        cleaning_min={stages[0].machine: 60 * int(rng.integers(1, 3))}
        if len(products) == 2 and machines[stages[0].machine] == 1
        else {},
        slot_min=slot,
    )
    begin = datetime.combine(
        DAYS[int(rng.integers(len(DAYS)))], time(int(rng.integers(24))), MADRID
    ).astimezone(UTC)
    end = begin + int(rng.integers(20, 32 if slot == 15 or linear else 48)) * HOUR
    first = begin - 48 * HOUR
    index = pd.date_range(first, end, freq="h", inclusive="left", name="start")
    market = rng.normal(60, 50, len(index)).round(2)
    rise = 5.0 * (size > 50 and chance(0.3))
    contract = ContractSettings(
        kw={name: size + rise * n for n, name in enumerate(PERIODS)},
        excess_eur_kw=dict.fromkeys(PERIODS, 0.7) if chance(0.3) else {},
        electricity_tax_pct=float(rng.choice([0, 5.113])),
    )
    request = PlanRequest(
        plant=plant,
        prices=tariffs.all_in(index, market, TARIFF, contract),
        tariff=TARIFF,
        contract=contract,
        begin=begin,
        end=end,
        orders=_orders(rng, products, begin, end),
        weather=_weather(rng, index) if chance(0.5) else None,
        pv_kw=_sun(rng, index) if chance(0.4) else None,
        outages=tuple(_outages(rng, plant, begin, end)),
        load_so_far=pd.Series(
            rng.uniform(5, size + 15, 24),
            index=pd.date_range(begin - 24 * HOUR, periods=24, freq="h"),
        )
        if chance(0.4)
        else None,
    )
    begun = list(_begun(rng, request)) if chance(0.4) else []
    pins = tuple(_pins(rng, request)) if chance(0.3) else ()
    return PlanRequest(**{**vars(request), "previous": stages_of(*begun), "pins": pins})


def tiny_request(seed: int) -> PlanRequest:
    """Return a factory of half a day above 50 kW, small enough to enumerate, without overtime."""
    rng = np.random.default_rng(seed)
    request = random_request(seed, linear=True)
    stages = tuple(
        structs.replace(
            stage, power_kw=float(rng.integers(25, 45)), attended="never", wait_min=0, hold_h=0.0
        )
        for stage in request.plant.stages[:2]
    )
    stages = (structs.replace(stages[0], hold_h=2.0, hold_kw=3.0), stages[1])
    plant = structs.replace(
        request.plant,
        stages=stages,
        variants={"plain": Variant(50.0, 100.0)},
        power=Power(),
        cleaning_min={},
    )
    contract = ContractSettings(
        kw=dict.fromkeys(PERIODS, 55.0),
        excess_eur_kw=dict.fromkeys(PERIODS, float(rng.uniform(0.05, 0.4))),
    )
    end = request.begin + 12 * HOUR
    orders = tuple(
        Order(
            "plain", float(rng.integers(60, 110)), request.begin + int(rng.integers(4, 13)) * HOUR
        )
        for _ in range(2)
    )
    return replace(
        request,
        plant=plant,
        contract=contract,
        end=end,
        orders=orders,
        pins=(),
        previous=stages_of(),
        prices=tariffs.all_in(
            pd.DatetimeIndex(request.prices.index),
            request.prices["market_eur_mwh"],
            TARIFF,
            contract,
        ),
    )


def _stages(rng: np.random.Generator, slot: int) -> tuple[tuple[Stage, ...], dict[str, int]]:
    count = int(rng.integers(2, 4))
    names = [f"machine {n}" for n in range(count)]
    if rng.random() < 0.2:
        names[-1] = names[0]
    stages = tuple(
        Stage(
            name=f"stage {n}",
            machine=names[n],
            power_kw=float(rng.integers(8, 40)),
            duration_min=int(rng.integers(1, 4)) * 60,
            wait_min=int(rng.choice([0, 60])),
            hold_h=float(rng.choice([2, 3])) if n == 0 and rng.random() < 0.5 else 0.0,
            attended=rng.choice(["always", "start", "never"]),
            operators=int(rng.integers(1, 3)),
            attended_min=int(rng.choice([slot, 60])),
            room=RoomLimits(15.0, 21.0, float(rng.choice([24, 30])), 55.0)
            if rng.random() < 0.4
            else RoomLimits(),
        )
        for n in range(count)
    )
    return stages, {name: int(rng.choice([1, 1, 2])) for name in names}


def _shifts(rng: np.random.Generator) -> tuple[Shift, ...]:
    first = int(rng.integers(4, 8))
    middle = int(rng.integers(11, 15))
    shifts = (Shift("early", WEEKDAYS, time(first), time(middle), 2),)
    if rng.random() < 0.7:
        shifts += (
            Shift(
                "late", WEEKDAYS, time(middle), time((middle + int(rng.integers(6, 10))) % 24), 2
            ),
        )
    return shifts


def _orders(
    rng: np.random.Generator, products: list[str], begin: datetime, end: datetime
) -> tuple[Order, ...]:
    orders = []
    for number in range(int(rng.integers(1, 4))):
        due = begin + int(rng.integers(4, (end - begin) // HOUR + 4)) * HOUR
        orders.append(
            Order(
                product=products[int(rng.integers(len(products)))],
                kg=float(rng.integers(40, 160)),
                due=due,
                eur_kg_day=float(rng.choice([0.02, 0.05, 0.2])),
                latest=due + int(rng.integers(0, 12)) * HOUR if rng.random() < 0.5 else None,
                firm=bool(rng.random() < 0.25),
                name=f"order {number}",
            )
        )
    return tuple(orders)


def _weather(rng: np.random.Generator, index: pd.DatetimeIndex) -> pd.DataFrame:
    wave = 10 * np.sin(2 * np.pi * (np.asarray(index.hour) - 8) / 24)
    frame = {
        "temperature_c": rng.uniform(5, 34) + wave,
        "humidity_pct": rng.uniform(25, 95, len(index)),
    }
    return pd.DataFrame(frame, index=index).iloc[: len(index) - int(rng.integers(0, 5))]


def _sun(rng: np.random.Generator, index: pd.DatetimeIndex) -> pd.Series:
    hour = np.asarray(index.tz_convert("Europe/Madrid").hour)
    return pd.Series(
        50 * np.maximum(0, np.sin(np.pi * (hour - 6) / 12)) * rng.uniform(0.2, 1), index=index
    )


def _outages(
    rng: np.random.Generator, plant: Plant, begin: datetime, end: datetime
) -> Iterator[Outage]:
    for _ in range(int(rng.integers(0, 3))):
        at = begin + int(rng.integers(-3, 20)) * HOUR
        machine = sorted(plant.machines)[int(rng.integers(len(plant.machines)))]
        yield Outage(machine, at, at + int(rng.integers(2, 10)) * HOUR + timedelta(minutes=20))


def _begun(rng: np.random.Generator, request: PlanRequest) -> Iterator[Batch]:
    """One batch in progress: a chain without waits of which some stages have begun."""
    plant = request.plant
    product = list(plant.variants)[int(rng.integers(len(plant.variants)))]
    at = request.begin - int(rng.integers(1, 6)) * HOUR
    starts = {}
    for stage in plant.stages:
        if at >= request.begin:
            break
        starts[stage.name] = at
        at += timedelta(minutes=World(request).minutes(product, stage))
    yield Batch(7, product, float(rng.integers(50, 100)), starts)


def _pins(rng: np.random.Generator, request: PlanRequest) -> Iterator[Pin]:
    product = request.orders[0].product
    stage = request.plant.stages[int(rng.integers(len(request.plant.stages)))].name
    yield Pin(product, stage, request.begin + int(rng.integers(0, 20)) * HOUR)


@pytest.fixture
def checked() -> Callable[[Plan], float]:
    """Check a plan's hard limits and return its objective, recomputed."""
    return lambda plan: Checker(plan.problem.request).check(plan)


@pytest.fixture
def least() -> Callable[[PlanRequest], float]:
    """The independent optimum of a request with a linear excess rule."""
    return lambda request: Optimum(request).least()


@pytest.fixture
def enumerated() -> Callable[[PlanRequest], float]:
    """The least objective over every schedule of a tiny request."""
    return lambda request: Enumeration(request).least()


@pytest.fixture
def tiny() -> Callable[[int], PlanRequest]:
    """A random request small enough to enumerate, by seed."""
    return tiny_request


@pytest.fixture
def world() -> Callable[..., PlanRequest]:
    """A random request by seed."""
    return random_request
