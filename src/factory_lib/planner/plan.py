"""A plan: the batches of a program's solution, what they cost, and what gave way."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factory_lib.domain.plant import Floats, Ints
from factory_lib.domain.tariff import local_dates
from factory_lib.planner.model import Model

LEAST_EUR = 1e-6
NEGLIGIBLE = 1e-3  # share of the largest amount that says neither since nor until when
SMALLEST_EUR = 10.0  # a plan worth less is compared with this: a ratio needs a base
# Kinds of wishes in the order in which they give way, and the units they are counted in.
KINDS = {
    "preferred_day": "kg·d",
    "extra_kg": "kg·d",
    "room_temperature": "K·h",
    "room_humidity": "%·h",
    "overtime": "h",
    "late": "kg",
    "lost": "kg",
    "firm_late": "kg",
    "moved": "starts",
    "frozen": "starts",
    "pin": "starts",
}


class Wish(NamedTuple):
    """A wish and by how much it gave way; one slot more says until when the last amount is."""

    kind: str
    subject: str
    amounts: Floats
    price: float | Floats
    slots: Ints


PlanSource = Literal["solver", "previous", "shift_begin", "fixed_start", "nothing"]


class Plan:
    """The plan of a program's solution, and the bound that its gap is proven against.

    ``source`` says where it is from: the solver, the plan before, a simple rule, or that
    nothing could be planned. A simple schedule whose solver ran out of time is not
    ``complete``: it may make less than its rule would.

    Attributes
    ----------
    stages : DataFrame
        A row for each stage of each batch, by batch and start, instants in UTC: batch
        (its number), product, kg, stage, machine, kw, people, start, end, begun,
        held_until (the machine is free).
    costs : Series
        What production adds to the bill from now on, EUR: energy, toll, other (with
        taxes), excess; their sum ``paid``; ``objective``, which the optimiser minimises,
        with what gave way at its stated prices.
    gave_way : DataFrame
        Wishes that were not kept, in the order in which they give way: kind, subject,
        amount, unit, eur, begin, until (NaT: beyond the window).
    production_kw : array
        By slot of the grid, 0 in history.
    kg, starts, jobs, products : array
        By batch, in order of their end; ``starts`` (slots) has a column for each stage.
        The k-th starts of all stages of a job are a batch, and the kilograms made
        between two marks are shared by the batches finished then.
    """

    def __init__(self, model: Model, solution: Floats, source: PlanSource) -> None:
        self.problem = problem = model.problem
        self.source = source
        self.bound_eur = -np.inf
        self.seconds = 0.0
        self.complete = True
        by_job = [model.starts(solution, j) for j in range(len(problem.jobs))]
        jobs = np.repeat(np.arange(len(by_job)), [len(starts) for starts in by_job])
        starts = np.concatenate([np.empty((0, len(problem.stages)), np.int64), *by_job])
        ends = starts[:, -1] + problem.duration[jobs, -1]
        order = np.lexsort((starts[:, 0], ends))
        self.jobs = jobs[order]
        self.starts = starts[order]
        self.products = np.array([job.product for job in problem.jobs], object)[self.jobs]
        marks = np.searchsorted(problem.marks, ends[order])
        made = np.diff(solution[model.made], prepend=0.0)
        number = np.zeros(made.shape)
        np.add.at(number, (self.jobs, marks), 1)
        self.kg = made[self.jobs, marks] / number[self.jobs, marks]
        self.production_kw = model.used(model.kw, solution) * problem.future
        self.gave_way = self._gave_way(model, solution)
        self.costs = self._costs()
        self.stages = self._stages()

    @property
    def gap(self) -> float:
        """Relative saving that any other plan could bring; infinite where unproven."""
        eur = float(self.costs["objective"])
        return max(0.0, eur - self.bound_eur) / max(abs(eur), SMALLEST_EUR)

    def stated_eur(self, *kinds: str) -> float:
        """Return the stated price of what gave way of some kinds, EUR."""
        return float(self.gave_way["eur"][self.gave_way["kind"].isin(kinds)].sum())

    def _costs(self) -> pd.Series:
        """Return costs by the exact rules, without loads that always run."""
        problem = self.problem
        kw = self.production_kw
        used = np.minimum(kw, problem.spare_kw)
        mwh = problem.slot_h / 1000
        energy = float(problem.market @ (kw - used)) * mwh
        toll = float(problem.toll @ (kw - used)) * mwh
        total = float(problem.price @ kw - problem.saved @ used) * mwh
        more = problem.excess.norm(problem.meter_kw + kw) - problem.unavoidable
        excess = float(problem.excess.rate_eur @ more) * problem.taxed
        parts = {"energy": energy, "toll": toll, "other": total - energy - toll, "excess": excess}
        paid = total + excess
        return pd.Series({**parts, "paid": paid, "objective": paid + self.gave_way["eur"].sum()})

    def _gave_way(self, model: Model, solution: Floats) -> pd.DataFrame:
        rows = []
        for kind, subject, amounts, price, slots in self._wishes(model, solution):
            eur = float(np.sum(amounts * price))
            if eur > LEAST_EUR:
                here = np.flatnonzero(amounts > NEGLIGIBLE * amounts.max())
                until = [*slots[here[-1] + 1 :], -1][0]
                amount = amounts.max() if KINDS[kind] == "kg" else amounts.sum()
                rows.append((kind, subject, amount, KINDS[kind], eur, slots[here[0]], until))
        rows.sort(key=lambda row: [*KINDS].index(row[0]))
        columns = ["kind", "subject", "amount", "unit", "eur", "begin", "until"]
        table = pd.DataFrame(rows, columns=columns)
        instants = self.problem.stamps.insert(len(self.problem.stamps), pd.NaT)  # the last: -1
        return table.assign(
            begin=instants[table["begin"].to_numpy(int)],
            until=instants[table["until"].to_numpy(int)],
        )

    def _wishes(self, model: Model, solution: Floats) -> Iterator[Wish]:
        problem = self.problem
        slack = problem.plant.slack
        yield from self._off_orders(solution[model.off_orders])
        slots = np.arange(len(problem.stamps))
        for s, stage in enumerate(problem.stages):
            runs = [float(act.kind == "run" and act.stage == s) for act in problem.activities]
            hours = model.used(runs, solution) * problem.slot_h
            kelvin_hours = hours * problem.kelvin[s]
            percent_hours = hours * problem.percent[s]
            yield Wish("room_temperature", stage.name, kelvin_hours, slack.room_eur_k_h, slots)
            yield Wish("room_humidity", stage.name, percent_hours, slack.room_eur_pct_h, slots)
        extra_h = solution[model.extra_people] * problem.slot_h
        dates = local_dates(problem.index, problem.plant.zone)
        for day in np.unique(dates):
            overtime_h = extra_h * (dates == day)
            yield Wish("overtime", str(day), overtime_h, slack.overtime_eur_h, slots)
        for job in problem.lost:
            kg = np.array([job.max_kg])
            name = f"{job.product} {job.number}"
            yield Wish("lost", name, kg, slack.lost_eur_kg, slots[[problem.now]])
        for (kind, product, s, slot), count in problem.keeps.items():
            kept = np.sum((self.products == product) & (self.starts[:, s] == slot))
            gone = np.array([max(0.0, count - kept)])
            name = f"{product} {problem.stages[s].name}"
            yield Wish(kind, name, gone, problem.keep_eur[kind], slots[[slot]])

    def _off_orders(self, off_kg: Floats) -> Iterator[Wish]:
        problem = self.problem
        days = problem.mark_days
        for order, late, kg, eur in zip(
            problem.orders, problem.late, off_kg, problem.eur_kg, strict=True
        ):
            name = order.name or order.product
            early = "preferred_day" if np.isfinite(order.kg) else "extra_kg"
            yield Wish(early, name, kg * days * ~late, eur / days, problem.marks)
            due = "firm_late" if order.firm else "late"
            yield Wish(due, name, kg * late, eur, problem.marks)

    def _numbers(self) -> Ints:
        """Return a number for each batch: its own, the one planned nearest, or a new one.

        New numbers follow the order of start.
        """
        problem = self.problem
        previous = problem.request.previous
        numbers = np.array([job.number for job in problem.jobs], np.int64)[self.jobs]
        planned = previous[~previous["batch"].isin(problem.begun["batch"])]
        for product, batches in planned.drop_duplicates("batch").groupby("product"):
            slots = batches["start"].map(problem.slot).to_numpy(int)
            fresh = np.flatnonzero((self.products == product) & (numbers == 0))
            rows, columns = linear_sum_assignment(np.abs(self.starts[fresh, :1] - slots))
            numbers[fresh[rows]] = batches["batch"].to_numpy(int)[columns]
        order = np.argsort(self.starts[:, 0], kind="stable")
        new = order[numbers[order] == 0]
        first = max([problem.request.next_number, *(previous["batch"] + 1)])
        numbers[new] = first + np.arange(len(new))
        return numbers

    def _stages(self) -> pd.DataFrame:
        problem = self.problem
        numbers = self._numbers()
        parts = []
        for s, stage in enumerate(problem.stages):
            start = self.starts[:, s]
            end = start + problem.duration[self.jobs, s]
            rows = {
                "batch": numbers,
                "product": self.products,
                "kg": self.kg,
                "stage": stage.name,
                "machine": stage.machine,
                "kw": stage.power_kw,
                "people": stage.operators * (stage.attended != "never"),
                "start": problem.stamps[start],
                "end": problem.stamps[end],
                "begun": start < problem.now,
                "held_until": problem.stamps[self.starts[:, s + 1] if stage.hold_h else end],
            }
            parts.append(pd.DataFrame(rows))
        return pd.concat(parts).sort_values(["batch", "start"], ignore_index=True)

    def power(self) -> pd.DataFrame:
        """Return production, base, solar, import and excess kilowatts by slot."""
        problem = self.problem
        load = problem.meter_kw + self.production_kw
        frame = {
            "production_kw": self.production_kw,
            "base_kw": problem.base_kw,
            "solar_kw": problem.base_kw - problem.meter_kw,
            "import_kw": np.maximum(load, 0.0),
            "excess_kw": problem.excess.over_kw(load),
        }
        return pd.DataFrame(frame, index=problem.index).iloc[problem.now :]
