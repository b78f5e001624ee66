"""The mixed-integer program of a planning problem, in step form.

The unknown of a stage is how many batches have begun it up to each slot, not whether
one begins in a slot. Order, waits and machine capacity then compare two unknowns at a
time (``x − y ≤ constant``): the matrix of those rows is a network's and totally
unimodular, so the relaxation is whole by itself except where people, power and
kilograms couple stages. Slots in which nothing may start share their predecessor's
unknown. Nothing that may give way is forbidden: it costs.
"""

from collections.abc import Sequence
from itertools import chain, combinations, permutations

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.problem import Activity, Problem

ZERO = 0  # the column of an unknown that can only be zero
LARGEST_SET = 4  # activities in a combination
POINT_KW = 10.0  # excess that the charge is first described at, over
STRETCHES = (1, 4, 16, 64, 256)  # so many slots

Terms = Sequence[tuple[Ints, float | Floats]]
"""Column arrays of one length, each with its coefficient (or one for each position)."""


class Program:
    """A program being written: the cost of its columns is minimised over its rows."""

    def __init__(self) -> None:
        self.columns = [np.zeros((4, 1))]  # low, high, cost, whole
        self.limits: list[Floats] = []
        self.entries: list[Floats] = []  # row, column, value
        self.width = 1
        self.height = 0

    def add(
        self,
        count: int,
        *,
        low: npt.ArrayLike = 0.0,
        high: npt.ArrayLike = np.inf,
        cost: npt.ArrayLike = 0.0,
        whole: bool = False,
    ) -> Ints:
        """Add ``count`` unknowns and return their numbers."""
        self.columns.append(_table(count, low, high, cost, whole))
        self.width += count
        return np.arange(self.width - count, self.width)

    def rows(
        self,
        terms: Terms,
        low: npt.ArrayLike = -np.inf,
        high: npt.ArrayLike = np.inf,
        *,
        one: bool = False,
    ) -> None:
        """Add one row for each position of the terms: ``low ≤ Σ coefficient · column ≤ high``.

        With ``one``, a single row of all terms at all their positions.
        """
        if not terms:
            return
        count = 1 if one else len(terms[0][0])
        numbers = self.height + np.arange(count)
        self.entries += [_table(len(term[0]), numbers, *term) for term in terms]
        self.limits.append(_table(count, low, high))
        self.height += count

    def solve(self, time_limit_s: float, gap: float) -> OptimizeResult:
        """Minimise to a relative ``gap``; ``x`` is None where nothing was found."""
        self.rows([(np.array([ZERO]), 1.0)])  # a program has a row
        rows, columns, values = np.concatenate(self.entries, axis=1)
        matrix = coo_array(
            (values, (rows.astype(int), columns.astype(int))), shape=(self.height, self.width)
        )
        low, high, cost, whole = np.concatenate(self.columns, axis=1)
        result = milp(
            cost,
            integrality=whole,
            bounds=Bounds(low, high),
            constraints=LinearConstraint(matrix.tocsr(), *np.concatenate(self.limits, axis=1)),
            options={"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": gap},
        )
        if result.x is not None:
            result.x = np.where(whole, np.rint(result.x), result.x)
        if result.mip_dual_bound is None:  # nothing whole: a linear program, or no answer
            result.mip_dual_bound = result.fun if result.status == 0 else -np.inf
        return result


class Model(Program):
    """The program of ``problem``.

    Parameters
    ----------
    overtime : bool
        Whether people beyond the shifts can be paid for.
    masks : list, optional
        For each job and stage, the slots in which it may begin; else wherever it can.
    start_costs : optional
        Costs of starts by stage and slot instead of all that a plan costs but for its
        orders and overtime, for schedules that look at no price.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        overtime: bool = False,
        masks: list[list[Bools]] | None = None,
        start_costs: Floats | None = None,
    ) -> None:
        super().__init__()
        self.problem = problem
        self.masks = masks or problem.startable(overtime=overtime)
        self.slots = np.arange(len(problem.index))
        self.ahead = np.flatnonzero(problem.future)
        self.kw = [activity.kw for activity in problem.activities]
        self.begun = [self._steps(j, start_costs) for j in range(len(problem.jobs))]
        self.facts = np.concatenate(self.columns, axis=1)[0]  # nothing but what has begun
        most_kw = [
            act.kw * np.maximum(problem.capacity[act.machine], 1)
            for act in problem.activities
            if act.kw
        ]
        self.most_kw = np.sum([0.0 * self.slots, *most_kw], axis=0)
        self._order_and_waits()
        self._machines()
        self.extra_people = self._people(overtime)
        room = problem.plant.power.limit_kw - problem.base_kw
        self._limit(self.kw, room, np.flatnonzero(self.most_kw > room))
        made = [self._made(j) for j in range(len(problem.jobs))]
        self.made = np.array(made, np.int64).reshape(-1, len(problem.marks))
        self.off_orders = self._kilograms()
        self.over = np.full(len(self.slots), ZERO)
        self.charges: list[tuple[int, Ints, Ints]] = []
        if start_costs is None:
            self._excess()
            self._resource_combinations()
            self._solar()
            self._keeps()

    def starts(self, solution: Floats, j: int) -> Ints:
        """Return the slots in which the batches of a job (rows) begin their stages."""
        begun = [np.diff(solution[columns], prepend=0).astype(int) for columns in self.begun[j]]
        return np.array([np.repeat(self.slots, number) for number in begun]).T

    def at(self, j: int, stage: int, slots: Ints) -> Ints:
        """Return the columns of how many batches have begun a stage by ``slots``."""
        columns = self.begun[j][stage][np.clip(slots, 0, len(self.slots) - 1)]
        return np.where(slots < 0, ZERO, columns)

    def use(
        self, weights: Sequence[float], slots: Ints | None = None, product: str | None = None
    ) -> Terms:
        """Return columns that count what activities (of a product) take ``weights`` of."""
        slots = self.slots if slots is None else slots
        terms = []
        for activity, weight in zip(self.problem.activities, weights, strict=True):
            for j, job in enumerate(self.problem.jobs):
                if weight and product in (None, job.product):
                    begin = self.at(j, activity.stage, slots - activity.begin[j])
                    end = self.at(j, activity.end_stage, slots - activity.end[j])
                    terms += [(begin, weight), (end, -weight)]
        return terms

    def used(
        self, weights: Sequence[float], solution: Floats, product: str | None = None
    ) -> Floats:
        """Return by slot what activities take ``weights`` of in a solution."""
        terms = self.use(weights, product=product)
        parts = [sign * solution[columns] for columns, sign in terms]
        return np.asarray(np.sum([0.0 * self.slots, *parts], axis=0))

    def _used_by_facts(self, weights: Sequence[float], product: str | None = None) -> Floats:
        """Return by slot what stages that have begun take; holding may end."""
        runs = [act.kind != "hold" for act in self.problem.activities]
        return self.used(np.multiply(runs, weights).tolist(), self.facts, product)

    def _steps(self, j: int, start_costs: Floats | None) -> list[Ints]:
        """Add the counts of each stage, none falling; return their columns by slot."""
        job = self.problem.jobs[j]
        costs = self.problem.start_eur(j) if start_costs is None else start_costs
        columns_by_slot = []
        for s, mask in enumerate(self.masks[j]):
            columns = self.add(
                int(mask.sum()),
                low=float(s < len(job.facts)) * job.count,
                high=job.count,
                cost=-np.diff(costs[s, mask], append=0.0).round(9),  # equal ones stay equal
                whole=True,
            )
            self.rows([(columns[1:], 1.0), (columns[:-1], -1.0)], low=0.0)
            columns_by_slot.append(np.append(ZERO, columns)[np.cumsum(mask)])
        return columns_by_slot

    def _order_and_waits(self) -> None:
        for j, job in enumerate(self.problem.jobs):
            for s in range(max(len(job.facts) - 1, 0), len(self.masks[j]) - 1):
                duration = self.problem.duration[j, s]
                after = np.flatnonzero(self.masks[j][s + 1])
                ended = self.at(j, s, after - duration)
                self.rows([(self.at(j, s + 1, after), 1.0), (ended, -1.0)], high=0.0)
                begin = np.flatnonzero(self.masks[j][s])
                gone_on = self.at(j, s + 1, begin + duration + self.problem.wait[s])
                self.rows([(gone_on, 1.0), (self.at(j, s, begin), -1.0)], low=0.0)

    def _limit(
        self,
        weights: Sequence[float],
        room: Floats | Ints,
        slots: Ints,
        *more: tuple[Ints, float],
    ) -> None:
        """Keep what activities take ``weights`` of within ``room``, or what facts take."""
        room = np.maximum(room, self._used_by_facts(weights))
        self.rows([*self.use(weights, slots), *more], high=room[slots])

    def _machines(self) -> None:
        """Keep to the units of each machine, and products apart by the time to clean it."""
        plant = self.problem.plant
        products = {job.product for job in self.problem.jobs}
        for machine, capacity in self.problem.capacity.items():
            mine = [float(act.machine == machine) for act in self.problem.activities]
            self._limit(mine, capacity, self.ahead)
            clean = -(-plant.cleaning_min.get(machine, 0) // plant.slot_min)
            shortest = int(self.problem.duration.min(initial=clean + 1))
            for one, other in permutations(products, 2):
                for lag in {*range(0, clean, shortest), clean} if clean else ():
                    self._apart(mine, one, other, lag)

    def _apart(self, mine: Sequence[float], one: str, other: str, lag: int) -> None:
        """Let ``other`` use a machine no sooner after ``one``; what has begun is as it is."""
        slots = self.slots[max(self.problem.now - lag, 0) : len(self.slots) - lag]
        later = self._used_by_facts(mine, other)[slots + lag]
        both = np.maximum(self._used_by_facts(mine, one)[slots] + later, 1.0)
        self.rows([*self.use(mine, slots, one), *self.use(mine, slots + lag, other)], high=both)

    def _people(self, overtime: bool) -> Ints:
        """Keep to the people present; return the columns of those beyond, by slot."""
        problem = self.problem
        extra = self.add(
            len(self.slots),
            high=np.maximum(problem.most_people - problem.people, 0) * overtime,
            cost=problem.plant.slack.overtime_eur_h * problem.slot_h,
        )
        weights = [float(activity.people) for activity in problem.activities]
        self._limit(weights, problem.people, self.ahead, (extra[self.ahead], -1.0))
        return extra

    def _kilograms(self) -> Ints:
        """Lay kilograms on the orders; return the columns of orders by marks.

        The column of an order is what is delivered before it is due, and what is
        lacking from then on.
        """
        problem = self.problem
        kg = np.broadcast_to(problem.order_kg, problem.due.shape)
        costs = problem.eur_kg.ravel()
        columns = self.add(kg.size, high=kg.ravel(), cost=costs).reshape(kg.shape)
        sign = np.where(problem.due, -1.0, 1.0)
        lacking = np.where(problem.due, kg, 0.0)
        for product in {job.product for job in problem.jobs}:
            mine = [order.product == product for order in problem.orders]
            made = self.made[[job.product == product for job in problem.jobs]]
            balance = [*zip(columns[mine], sign[mine], strict=True), *((row, -1.0) for row in made)]
            total = -lacking[mine].sum(axis=0)
            self.rows(balance, low=total, high=total)
        ordered = np.isfinite(problem.order_kg[:, 0])  # what is beyond all orders may serve one
        now = (columns[ordered, 1:].ravel(), sign[ordered, 1:].ravel())
        before = (columns[ordered, :-1].ravel(), -sign[ordered, :-1].ravel())
        self.rows([now, before], low=-np.diff(lacking[ordered]).ravel())
        return columns

    def _made(self, j: int) -> Ints:
        """Add what a job has made by each mark, within the sizes of its batches."""
        job = self.problem.jobs[j]
        last = len(self.problem.stages) - 1
        done = self.at(j, last, self.problem.marks - self.problem.duration[j, last])
        made = self.add(len(self.problem.marks))
        steps = [(made, 1.0), (np.append(ZERO, made[:-1]), -1.0)]
        before = np.append(ZERO, done[:-1])
        self.rows([*steps, (done, -job.min_kg), (before, job.min_kg)], low=0.0)
        self.rows([*steps, (done, -job.max_kg), (before, job.max_kg)], high=0.0)
        return made

    def _excess(self) -> None:
        """Price what production adds to each month's excess."""
        problem = self.problem
        rule = problem.excess
        room = rule.contract_kw[rule.group] - problem.meter_kw
        slots = np.flatnonzero((self.most_kw > room) & problem.future)
        self.over[slots] = self.add(len(slots), low=rule.over_kw(problem.meter_kw)[slots])
        self.rows([*self.use(self.kw, slots), (self.over[slots], -1.0)], high=room[slots])
        for group in np.unique(rule.group[slots]):
            mine = slots[rule.group[slots] == group]
            charge = self.add(1, cost=rule.rate_eur[group] * problem.taxed)
            self.charges.append((group, mine, charge))
            for length in STRETCHES[:1] if rule.small else STRETCHES:
                for begin in range(0, len(mine), max(length // 2, 1)):
                    stretch = mine[begin : begin + length]
                    self._tangent(group, charge, stretch, np.full(len(stretch), POINT_KW))

    def _tangent(self, group: int, charge: Ints, slots: Ints, excess_kw: Floats) -> None:
        """Describe a month's charge from below, exactly at ``excess_kw`` in slots."""
        rule = self.problem.excess
        before = rule.before[group] * (not rule.small)
        norm = np.hypot(before, rule.weight * np.linalg.norm(excess_kw)) or 1.0
        slope = -(rule.weight**2) * excess_kw / norm
        low = before**2 / norm - self.problem.unavoidable[group]
        self.rows([(charge, 1.0), (self.over[slots], slope)], low, one=True)

    def describe(self, excess_kw: Floats) -> None:
        """Make the excess charge exact at a schedule's excess by slot."""
        for group, slots, charge in self.charges:
            if not self.problem.excess.small:  # a highest quarter is described at once
                self._tangent(group, charge, slots, excess_kw[slots])

    def _resource_combinations(self) -> None:
        """Bound how many activities of a set go on, where any two exceed what is left.

        A relaxation would run half of refining beside half of conching for free. Above
        the connection's limit at most one goes on. Above the contract each further one
        costs at least the excess of the two that exceed it least. Both hold while every
        machine of the set has one unit.
        """
        problem = self.problem
        limit_kw = problem.plant.power.limit_kw - problem.base_kw
        free_kw = problem.excess.contract_kw[problem.excess.group] - problem.meter_kw
        free = problem.future & (self._used_by_facts([1.0] * len(self.kw)) == 0)
        able = {
            act: free & (problem.capacity[act.machine] <= 1) for act in problem.activities if act.kw
        }
        sizes = range(2, LARGEST_SET + 1)
        for some in chain.from_iterable(combinations(able, size) for size in sizes):
            least_kw = _least_pair_kw(some)
            beyond = least_kw > limit_kw + 1e-9
            costly = (max(part.kw for part in some) <= free_kw) & (least_kw > free_kw)
            together = np.all([able[part] for part in some], axis=0)
            slots = np.flatnonzero(together & (beyond | costly))
            excess = np.where(beyond, 1.0, least_kw - free_kw)[slots]
            over = np.where(beyond, ZERO, self.over)[slots]
            active = self.use([float(act in some) for act in problem.activities], slots)
            more = [(columns, sign * excess) for columns, sign in active]
            self.rows([*more, (over, -1.0)], high=excess)

    def _solar(self) -> None:
        """Credit solar power that production uses instead of importing."""
        problem = self.problem
        slots = np.flatnonzero(problem.spare_kw)
        saved_eur_kw = problem.saved[slots] * problem.slot_h / 1000
        used = self.add(len(slots), high=problem.spare_kw[slots], cost=-saved_eur_kw)
        self.rows([(used, -1.0), *self.use(self.kw, slots)], low=0.0)

    def _keeps(self) -> None:
        """Price every start that does not stay where it should, and what is lost."""
        problem = self.problem
        lost_kg = sum(job.max_kg for job in problem.lost)
        self.add(1, low=lost_kg, high=lost_kg, cost=problem.plant.slack.lost_eur_kg)
        for (kind, product, stage, slot), count in problem.keeps.items():
            terms = [(self.add(1, high=count, cost=problem.keep_eur[kind]), 1.0)]
            for j, job in enumerate(problem.jobs):
                if job.product == product:
                    terms.append((self.at(j, stage, np.array([slot])), 1.0))
                    terms.append((self.at(j, stage, np.array([slot - 1])), -1.0))
            self.rows(terms, low=count)


def _least_pair_kw(activities: Sequence[Activity]) -> float:
    return min(
        (a.kw + b.kw for a, b in combinations(activities, 2) if a.machine != b.machine),
        default=0.0,
    )


def _table(count: int, *values: npt.ArrayLike) -> Floats:
    return np.array([np.broadcast_to(np.asarray(value, float), count) for value in values])
