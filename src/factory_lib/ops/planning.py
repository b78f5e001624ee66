"""Tomorrow's plan as the store stands: what is known and expected, solved, compared, explained and written to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import MADRID, day_start, epoch, from_epoch, market_day
from factory_lib.errors import BadInput
from factory_lib.house import House
from factory_lib.ops import carried, hand, outdoor, outlook, plan_story
from factory_lib.ops.hand import Hand
from factory_lib.ops.records import write_atomically
from factory_lib.plan import demand, export
from factory_lib.plan.brief import Language, brief
from factory_lib.plan.request import Request, for_days
from factory_lib.plan.solve import Plan, solve
from factory_lib.plan.watch import Watch, watch

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
        UTC index over the window: ``p10``, ``p50``, ``p90`` (EUR/MWh), ``period``, ``known``.
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
    def files(self) -> tuple[str, ...]:
        """The exports, by path."""
        return tuple(str(self.folder / name) for name in ("plan.json", "plan.csv", "plan.ics"))

    @property
    def contracted_kw(self) -> float:
        """The contract that the power is held against."""
        return self.plan.problem.plant.power.contracted_kw


def plan_today(
    house: House,
    days: int = 1,
    first: date | None = None,
    *,
    wishes: Sequence[str] = (),
    language: Language = "es",
) -> PlanOutcome:
    """Plan ``days`` local days from ``first`` (default: tomorrow) as of ``house.as_of``.

    Parameters
    ----------
    wishes : sequence of str
        The shift leader's (``hand.GRAMMAR``). Each stays until its time has passed; ``"none"`` takes all away.

    Raises
    ------
    BadInput
        If a wish is not understood, the day is over, or there is no price to go by.
    """
    plant = house.settings.plant
    first = first or market_day(house.as_of) + timedelta(days=1)
    begin, end = _window(house, first, days)
    folder = plans_folder(house) / str(first)
    said = hand.read(wishes, plant, first)
    _must_lie_ahead(said, begin, end)
    cleared = hand.NONE in wishes
    before = hand.Hand() if cleared else hand.read(hand.kept(plans_folder(house)), plant, first)
    wanted = hand.read(hand.held(before, said, house.as_of), plant, first)
    prices, weather = outlook.prices(house, begin, end), outlook.weather(house, begin, end)
    if (missing := int(prices.loc[begin:, "p50"].isna().sum())) > 0:
        raise BadInput(
            f"{missing} quarters from {begin:%Y-%m-%d %H:%MZ} on have no price: neither published, nor forecast, nor "
            "of the same hour in the weeks before.",
            next_step="Run `factory run ingest` first.",
        )
    earlier = carried.earlier(plans_folder(house), first, begin, house.as_of)
    overdue = carried.overdue(earlier, house.as_of) if earlier and not cleared else ()

    def requested(by_hand: Hand) -> Request:
        pins = tuple(pin for pin in by_hand.pins if begin <= pin.start < end)  # what has begun is a fact
        outages = tuple(outage for outage in by_hand.outages if outage.until > begin)
        request = for_days(plant, prices, weather, first, days, begin=begin)
        request = replace(request, pins=pins, outages=outages, orders=(*by_hand.orders, *overdue))
        return carried.left_over(request, earlier or carried.NOTHING)

    plan = solve(requested(wanted), time_limit_s=8.0 if days == 1 else 60.0)
    to_blame = _to_blame(wanted, requested, first) if plan.status == "infeasible" else []
    made_at = carried.instant(earlier["made_at"]) if earlier else None
    found = plan_story.figures(plan)
    watched = (*watch(plan), *_low(house, plan, prices.loc[begin:], weather))
    outcome = PlanOutcome(
        plan=plan,
        day=first,
        schedule=plan.table(),
        power=plan.power(),
        prices=prices.loc[begin:],
        costs=plan_story.compared(plan),
        starts=plan_story.by_local_hour(plan),
        watched=plan_story.watched_hours(plan, watched),
        obstacles=plan_story.obstacles(plan),
        brief=brief(plan, watched, language=language, to_blame=to_blame),
        notes=plan_story.notes(
            plan,
            found,
            weather,
            counted=_counted(house, prices),
            earlier=made_at,
            late_kg=carried.late_kg(plan.problem.request, first),
            wishes=wanted.words,
        ),
        figures=found,
        verdict=plan_story.verdict(plan, first, days, found, to_blame),
        level="ok" if plan.status == "solved" else "warn",
        folder=folder,
    )
    state = carried.kept(plan.problem.request, wanted.orders, earlier, plan.status != "infeasible")
    hand.keep(plans_folder(house), wanted)
    _write(outcome, house.as_of, state)
    return outcome


def _low(house: House, plan: Plan, prices: pd.DataFrame, weather: pd.DataFrame) -> list[Watch]:
    """Return the hours of a poor outdoor index, with what the plan runs in them."""
    kw, found = plan.power()["production_kw"], []
    for low in outdoor.low_hours(house, prices, weather):
        kwh = float(kw[pd.DatetimeIndex(kw.index).floor("h").isin(low.starts)].sum()) * plan.problem.slot_h
        found.append(Watch("index", outdoor.spans_of(low.starts), running_kwh=kwh, why=low.why))
    return found


def _counted(house: House, prices: pd.DataFrame) -> str:
    tariff = house.settings.tariff
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
        raise BadInput(f"{text!r} is no day.", next_step="Say today, tomorrow or a date like 2026-01-31.") from None


def logged(house: House, outcome: PlanOutcome) -> PlanOutcome:
    """Log figures and files as an MLflow run and return the outcome with the run's id among its figures."""
    from factory_lib.models import registry

    run = registry.log(
        house,
        name=f"plan of {outcome.day}",
        params={"day": str(outcome.day), "as_of": house.as_of.isoformat(), "profile": house.profile},
        metrics={key: float(value) for key, value in outcome.figures.items() if not isinstance(value, str)},
        models={},
        tags={"kind": "plan", "status": outcome.plan.status, "world": house.store.world},
        artifacts={Path(file).name: Path(file).read_text(encoding="utf-8") for file in outcome.files},
        figures={},
    )
    return replace(outcome, figures={**outcome.figures, "mlflow_run_id": run.run_id})


def plans_folder(house: House) -> Path:
    """Return where plans lie by day; a replay of real days has a folder of its own, so that it rewrites no history."""
    replay = house.replay and not house.simulated
    return house.settings.paths.data / "plans" / ("replayed" if replay else "")


def _window(house: House, first: date, days: int) -> tuple[datetime, datetime]:
    """Return from when on stages may begin and by when everything is finished."""
    slot_s = house.settings.plant.slot_min * 60
    soonest = from_epoch(-(-epoch(house.as_of) // slot_s) * slot_s)
    begin = max(demand.begin(house.settings.plant, first, early=True), soonest)
    end = day_start(first + timedelta(days=days))
    if not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"{days} days cannot be planned.", next_step=f"Choose 1 … {LONGEST_DAYS}.")
    if begin >= end:
        now = house.as_of.astimezone(MADRID)
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
        return solve(requested(without), time_limit_s=8.0).status != "infeasible"

    alone = [word for word in wanted.words if possible(wanted.without(word, plant, first))]
    if alone or len(wanted.words) < 2 or not possible(Hand()):
        return alone
    return [", ".join(wanted.words)]


def _write(outcome: PlanOutcome, as_of: datetime, state: Mapping[str, Any]) -> None:
    outcome.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(outcome.folder / "plan.json", export.to_json(outcome.plan, made_at=as_of, more=state))
    write_atomically(outcome.folder / "plan.csv", export.to_csv(outcome.plan))
    write_atomically(outcome.folder / "plan.ics", export.to_ics(outcome.plan, made_at=as_of))
