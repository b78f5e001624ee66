"""Tomorrow's plan as the store stands: what is known and expected, solved, compared, explained and written to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import MADRID, day_start, epoch, from_epoch, market_day
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.files import write_atomically
from factory_lib.plan import demand, export
from factory_lib.plan.brief import Language, brief
from factory_lib.plan.request import Order, Request, for_days
from factory_lib.plan.solve import Plan, solve
from factory_lib.plan.watch import Watch, watch
from factory_lib.planning import carry_over, inputs, outdoor_index, overrides, summary
from factory_lib.planning.overrides import Hand
from factory_lib.results import JobResult, ResultStatus

LONGEST_DAYS = 7


@dataclass(frozen=True, eq=False)
class PlanOutcome:
    """A plan as its page, its files and its run record tell it; ``warn`` where there is none, or its gap is open.

    Attributes
    ----------
    schedule : DataFrame
        One row for each stage of each batch; instants in UTC, shown local.
    power : DataFrame
        UTC index; production, auxiliary, total and excess kilowatts.
    prices : DataFrame
        UTC index over the window: ``p10``, ``p50``, ``p90`` (EUR/MWh), ``period``,
        ``known``.
    costs : DataFrame
        The plan and the simple schedules of the same kilograms, cheapest first.
    starts : DataFrame
        What one batch alone costs at least by the local hour it begins in.
    watched : DataFrame
        Hours to watch, and what the plan did about them.
    obstacles : DataFrame
        What is in the way of a plan, smallest change first.
    brief : str
        The shift brief.
    """

    plan: Plan
    day: date
    schedule: pd.DataFrame
    power: pd.DataFrame
    prices: pd.DataFrame
    costs: pd.DataFrame
    starts: pd.DataFrame
    watched: pd.DataFrame
    obstacles: pd.DataFrame
    brief: str
    notes: tuple[str, ...]
    figures: dict[str, int | float | str]
    verdict: str
    level: str
    folder: Path

    @property
    def result(self) -> JobResult:
        """Status, summary and metrics, as every job reports them."""
        status: ResultStatus = "ok" if self.level == "ok" else "warn"
        return JobResult(status, self.verdict, self.figures)

    def adding(self, warning: str) -> PlanOutcome:
        """Return the outcome with one more sentence in its verdict, as a warning."""
        return replace(self, verdict=f"{self.verdict} {warning}", level="warn")

    @property
    def files(self) -> tuple[str, ...]:
        """The exports of this answer, by path; where it left an earlier plan in place, the one beside it."""
        beside = self.folder / carry_over.NO_PLAN
        names = (beside.name,) if beside.exists() else (carry_over.PLAN, "plan.csv", "plan.ics")
        return tuple(str(self.folder / name) for name in names)

    @property
    def contracted_kw(self) -> float:
        """The contract that the power is held against."""
        return self.plan.problem.plant.power.contracted_kw


def plan_today(
    ctx: RunContext,
    days: int = 1,
    first: date | None = None,
    *,
    wishes: Sequence[str] = (),
    language: Language = "es",
) -> PlanOutcome:
    """Plan ``days`` local days from ``first`` (default: tomorrow) as of ``ctx.as_of``.

    Days right after them that have a plan are planned again with them, so that no two
    plans contradict each other. Where there is no plan, the last one stays in its
    files.

    Parameters
    ----------
    wishes : sequence of str
        The shift leader's (``hand.GRAMMAR``). Each stays until its time has passed;
        ``"none"`` takes all away.

    Raises
    ------
    BadInput
        If a wish is not understood, the day is over, or there is no price to go by.
    """
    plant, folder = ctx.settings.plant, plans_folder(ctx)
    first = first or market_day(ctx.as_of) + timedelta(days=1)
    begin, _ = _window(ctx, first, days)
    joint = _joint_days(ctx, first, days)
    end = day_start(first + timedelta(days=joint))
    said = overrides.read(wishes, plant, first)
    _must_lie_ahead(said, begin, end)
    cleared = overrides.NONE in wishes
    before = overrides.Hand() if cleared else overrides.read(overrides.kept(folder), plant, first)
    wanted = overrides.read(overrides.held(before, said, ctx.as_of), plant, first)
    ask = _Ask.of(ctx, first, begin, end, forget_orders=cleared)
    requests = [ask.request(wanted, span) for span in dict.fromkeys((joint, days))]
    plan, owed = _first_found(requests, first)
    to_blame = (
        [] if plan.found else _to_blame(wanted, lambda by_hand: ask.request(by_hand, days), first)
    )
    overrides.keep(folder, wanted)
    last = None if plan.found else carry_over.last_plan(folder, first, ctx.as_of)
    stands = (
        last is not None
        and carry_over.is_planned(folder, first, ctx.as_of)
        and carry_over.stands(last, plant, wanted.outages, ask.begin)
    )
    outcome = _told(ctx, ask, plan, owed, wanted, to_blame, language)
    if last:
        outcome = outcome.adding(
            f"The plan made at {summary.local(carry_over.instant(last['made_at']))} "
            + (
                "stands."
                if stands
                else "stays in its files, but needs a machine that is out of order."
            )
        )
    elif plan.found and _last_day(plan.problem.request) < first + timedelta(days=joint - 1):
        after = _last_day(plan.problem.request) + timedelta(days=1)
        outcome = outcome.adding(f"The plan of {after:%A %-d %B} no longer fits: plan it again.")
    for day in (
        first + timedelta(days=n) for n in range((_last_day(plan.problem.request) - first).days + 1)
    ):
        if day == first or (plan.found and carry_over.is_planned(folder, day, ctx.as_of)):
            own = carry_over.last_answer(folder, day, ctx.as_of)
            state = carry_over.kept(owed, wanted.orders, ask.earlier, own, plan.found) | {
                "last_stands": stands
            }
            _write(plan, folder / str(day), ctx.as_of, state, over=last is None)
    return outcome


@dataclass(frozen=True, eq=False)
class _Ask:
    """What every request of one call shares: the day, what is known of it, and what the plan before leaves."""

    ctx: RunContext
    first: date
    begin: datetime
    prices: pd.DataFrame
    weather: pd.DataFrame
    earlier: carry_over.Document | None
    overdue: tuple[Order, ...]

    @classmethod
    def of(
        cls, ctx: RunContext, first: date, begin: datetime, end: datetime, *, forget_orders: bool
    ) -> _Ask:
        prices, weather = inputs.prices(ctx, begin, end), inputs.weather(ctx, begin, end)
        if (missing := int(prices.loc[begin:, "p50"].isna().sum())) > 0:
            raise BadInput(
                f"{missing} quarters from {begin:%Y-%m-%d %H:%MZ} on have no price: neither published, nor forecast, "
                "nor of the same hour in the weeks before.",
                next_step="Run `factory run ingest` first.",
            )
        earlier = carry_over.earlier(plans_folder(ctx), first, begin, ctx.as_of)
        overdue = () if forget_orders else carry_over.overdue(earlier, ctx.as_of)
        return cls(ctx, first, begin, prices, weather, earlier, overdue)

    def request(self, by_hand: Hand, days: int) -> Request:
        request = for_days(
            self.ctx.settings.plant,
            self.prices,
            self.weather,
            self.first,
            days,
            begin=self.begin,
            outages=tuple(outage for outage in by_hand.outages if outage.until > self.begin),
            orders=(*by_hand.orders, *self.overdue),
        )
        ahead = tuple(
            pin for pin in by_hand.pins if request.begin <= pin.start < request.end
        )  # the past is a fact
        return carry_over.left_over(replace(request, pins=ahead), self.earlier, self.ctx.as_of)


def _joint_days(ctx: RunContext, first: date, days: int) -> int:
    """Return how many days to plan: the next ones too if planned already, for their plans begin where this one's end.

    Batches of tomorrow begin this afternoon: two plans of the same machines, made
    apart, would contradict each other.
    """
    while days < LONGEST_DAYS and carry_over.is_planned(
        plans_folder(ctx), first + timedelta(days=days), ctx.as_of
    ):
        days += 1
    return days


def _first_found(requests: Sequence[Request], first: date) -> tuple[Plan, Request]:
    """Return the plan of the first request that has one, if need be without what is late, and all that was owed.

    Where none has, the plan tells what is in the way of the last.
    """
    for owed in requests:
        for request in (owed, carry_over.put_off(owed, first)):
            plan = solve(request, time_limit_s=_limit_s(request), explain=False)
            if plan.found:
                return plan, owed
            if carry_over.late_kg(owed, first) < 0.5:
                break
    return solve(owed, time_limit_s=_limit_s(owed)), owed


def _limit_s(request: Request) -> float:
    return 8.0 if request.end - request.begin <= timedelta(days=2) else 60.0


def _last_day(request: Request) -> date:
    return market_day(request.end - timedelta(seconds=1))


def _told(
    ctx: RunContext,
    ask: _Ask,
    plan: Plan,
    owed: Request,
    wanted: Hand,
    to_blame: Sequence[str],
    language: Language,
) -> PlanOutcome:
    prices = ask.prices.loc[ask.begin : plan.problem.index[-1]]
    found, request = summary.figures(plan), plan.problem.request
    watched = (*watch(plan), *_low(ctx, plan, prices, ask.weather))
    verdict = summary.verdict(
        plan, ask.first, (_last_day(request) - ask.first).days + 1, found, to_blame
    )
    if (
        put_off_kg := carry_over.late_kg(owed, ask.first) - carry_over.late_kg(request, ask.first)
    ) > 0.5:
        verdict += f" {put_off_kg:,.0f} kg of days before do not fit and stay owed; more days with --days make room."
    return PlanOutcome(
        plan=plan,
        day=ask.first,
        schedule=plan.table(),
        power=plan.power(),
        prices=prices,
        costs=summary.compared(plan),
        starts=summary.by_local_hour(plan),
        watched=summary.watched_hours(plan, watched),
        obstacles=summary.obstacles(plan),
        brief=brief(plan, watched, language=language, to_blame=to_blame),
        notes=summary.notes(
            plan,
            found,
            ask.weather,
            counted=_counted(ctx, ask.prices),
            earlier=carry_over.instant(ask.earlier["made_at"]) if ask.earlier else None,
            late_kg=carry_over.late_kg(request, ask.first),
            wishes=wanted.words,
        ),
        figures=found,
        verdict=verdict,
        level="ok" if plan.status == "solved" else "warn",
        folder=plans_folder(ctx) / str(ask.first),
    )


def _low(ctx: RunContext, plan: Plan, prices: pd.DataFrame, weather: pd.DataFrame) -> list[Watch]:
    """Return the hours of a poor outdoor index, with what the plan runs in them."""
    kw, found = plan.power()["production_kw"], []
    for low in outdoor_index.low_hours(ctx, prices, weather):
        kwh = (
            float(kw[pd.DatetimeIndex(kw.index).floor("h").isin(low.starts)].sum())
            * plan.problem.slot_h
        )
        found.append(
            Watch("index", outdoor_index.spans_of(low.starts), running_kwh=kwh, why=low.why)
        )
    return found


def _counted(ctx: RunContext, prices: pd.DataFrame) -> str:
    tariff = ctx.settings.tariff
    if (tariff.tolls or tariff.taxes) and "toll_eur_mwh" not in prices:
        return "energy only, since tolls and taxes are not known of every day here"
    return tariff.counted


def day_called(text: str, as_of: datetime) -> date:
    """Return the local day that ``today``, ``tomorrow``, nothing (tomorrow) or a date stands for."""
    today = market_day(as_of)
    if text in ("", "today", "tomorrow"):
        return today + timedelta(days=text != "today")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text!r} is no day.", next_step="Say today, tomorrow or a date like 2026-01-31."
        ) from None


def logged(ctx: RunContext, outcome: PlanOutcome) -> PlanOutcome:
    """Log figures and files as an MLflow run and return the outcome with the run's id among its figures."""
    from factory_lib.models import registry

    run = registry.log(
        ctx,
        name=f"plan of {outcome.day}",
        params={
            "day": str(outcome.day),
            "as_of": ctx.as_of.isoformat(),
            "profile": ctx.profile,
        },
        metrics={
            key: float(value)
            for key, value in outcome.figures.items()
            if not isinstance(value, str)
        },
        models={},
        tags={"kind": "plan", "status": outcome.plan.status, "origin": ctx.store.origin},
        artifacts={
            Path(file).name: Path(file).read_text(encoding="utf-8") for file in outcome.files
        },
        figures={},
    )
    return replace(outcome, figures={**outcome.figures, "mlflow_run_id": run.run_id})


def plans_folder(ctx: RunContext) -> Path:
    """Return where plans lie by day; a replay of real days has a folder of its own, so that it rewrites no history."""
    replay = ctx.replay and not ctx.simulated
    return ctx.settings.paths.data / "plans" / ("replayed" if replay else "")


def _window(ctx: RunContext, first: date, days: int) -> tuple[datetime, datetime]:
    """Return from when on stages may begin and by when everything is finished."""
    slot_s = ctx.settings.plant.slot_min * 60
    soonest = from_epoch(-(-epoch(ctx.as_of) // slot_s) * slot_s)
    begin = max(demand.begin(ctx.settings.plant, first, early=True), soonest)
    end = day_start(first + timedelta(days=days))
    if not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"{days} days cannot be planned.", next_step=f"Choose 1 … {LONGEST_DAYS}.")
    if begin >= end:
        now = ctx.as_of.astimezone(MADRID)
        raise BadInput(f"{first} cannot be planned: it is over at {now:%Y-%m-%d %H:%M} local time.")
    return begin, end


def _must_lie_ahead(wanted: Hand, begin: datetime, end: datetime) -> None:
    window = " to ".join(f"{at.astimezone(MADRID):%Y-%m-%d %H:%M}" for at in (begin, end))
    for at, what in (
        *((pin.start, f"pin of {pin.stage}") for pin in wanted.pins),
        *((order.due, f"order of {order.kg:g} kg {order.variant}") for order in wanted.orders),
        *((min(outage.until, end), f"outage of {outage.machine}") for outage in wanted.outages),
    ):
        if not begin <= at <= end:
            local = f"{at.astimezone(MADRID):%Y-%m-%d %H:%M}"
            raise BadInput(
                f"The {what} at {local} lies outside what is planned, {window} local time.",
                next_step="Name another time, or plan another day with --day, or more days with --days.",
            )


def _to_blame(wanted: Hand, requested: Callable[[Hand], Request], first: date) -> list[str]:
    """Return the wishes without any one of which there would be a plan; all of them where only together."""
    plant = requested(Hand()).plant

    def possible(without: Hand) -> bool:
        return solve(requested(without), time_limit_s=8.0, explain=False).status != "infeasible"

    alone = [word for word in wanted.words if possible(wanted.without(word, plant, first))]
    if alone or len(wanted.words) < 2 or not possible(Hand()):
        return alone
    return [", ".join(wanted.words)]


def _write(
    plan: Plan, folder: Path, as_of: datetime, state: Mapping[str, Any], *, over: bool
) -> None:
    """Write the files of an answer; that there is no plan stands beside a plan there is, not ``over`` it."""
    folder.mkdir(parents=True, exist_ok=True)
    document = export.to_json(plan, made_at=as_of, more=state)
    if not over:
        write_atomically(folder / carry_over.NO_PLAN, document)
        return
    write_atomically(folder / carry_over.PLAN, document)
    write_atomically(folder / "plan.csv", export.to_csv(plan))
    write_atomically(folder / "plan.ics", export.to_ics(plan, made_at=as_of))
    (folder / carry_over.NO_PLAN).unlink(missing_ok=True)
