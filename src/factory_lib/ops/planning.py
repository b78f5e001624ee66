"""Tomorrow's plan as the store stands: what is known and expected, solved, compared, explained and written to files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import MADRID, day_start, epoch, from_epoch, market_day
from factory_lib.errors import BadInput
from factory_lib.house import House
from factory_lib.ops import hand, outdoor, outlook, plan_story
from factory_lib.ops.hand import Hand
from factory_lib.ops.records import write_atomically
from factory_lib.plan import demand, export
from factory_lib.plan.brief import Language, brief
from factory_lib.plan.problem import Request, Running, for_days
from factory_lib.plan.replan import settle
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
        The shift leader's (``hand.GRAMMAR``). They stay until others are given; ``"none"`` takes them away.

    Raises
    ------
    BadInput
        If a wish is not understood, the day is over, or there is no price to go by.
    """
    plant = house.settings.plant
    first = first or market_day(house.as_of) + timedelta(days=1)
    begin, end = _window(house, first, days)
    folder = plans_folder(house) / str(first)
    wanted = hand.read(wishes or hand.kept(folder), plant, first)
    if wishes:
        _must_lie_ahead(wanted, begin, end)
    prices, weather = outlook.prices(house, begin, end), outlook.weather(house, begin, end)
    if (missing := int(prices.loc[begin:, "p50"].isna().sum())) > 0:
        raise BadInput(
            f"{missing} quarters from {begin:%Y-%m-%d %H:%MZ} on have no price: neither published, nor forecast, nor "
            "of the same hour in the weeks before.",
            next_step="Run `factory run ingest` first.",
        )
    earlier = _earlier(house, first, begin)

    def requested(by_hand: Hand) -> Request:
        pins = tuple(pin for pin in by_hand.pins if pin.start >= begin)  # what has begun is a fact
        request = for_days(plant, prices, weather, first, days, begin=begin)
        request = replace(request, pins=pins, outages=by_hand.outages, orders=by_hand.orders)
        return _left_over(request, earlier, first) if earlier else request

    plan = solve(requested(wanted), time_limit_s=8.0 if days == 1 else 60.0)
    to_blame = _to_blame(wanted, requested, first) if plan.status == "infeasible" else []
    made_at = _instant(earlier["made_at"]) if earlier else None
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
            late_kg=_late_kg(plan.problem.request, first),
            wishes=wanted.words,
        ),
        figures=found,
        verdict=plan_story.verdict(plan, first, days, found, to_blame),
        level="ok" if plan.status == "solved" else "warn",
        folder=folder,
    )
    _write(outcome, house.as_of, wanted)
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


def _earlier(house: House, first: date, begin: datetime) -> dict[str, Any] | None:
    """Return the plan carried out at ``begin``: this day's own once it has begun, else the day before's."""
    for day in (first, first - timedelta(days=1)):
        file = plans_folder(house) / str(day) / "plan.json"
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            begun = any(_instant(batch["stages"][0]["start"]) < begin for batch in found["batches"])
            if _instant(found["made_at"]) <= house.as_of and (begun or day < first):
                return found
    return None


def _left_over(request: Request, earlier: Mapping[str, Any], first: date) -> Request:
    """Add what an earlier plan, taken as carried out until the window's begin, has running and still owes."""
    begin, today = request.begin, market_day(request.begin)
    owed: dict[date, dict[str, float]] = {}
    before = {day: kg for text, kg in earlier["kilograms"].items() if (day := date.fromisoformat(text)) < first}
    for day, by_variant in [*before.items(), *request.kilograms.items()]:
        for variant, kg in by_variant.items():  # what is late is wanted at once
            wanted = owed.setdefault(max(day, today), {})
            wanted[variant] = wanted.get(variant, 0.0) + kg
    running = []
    for batch in earlier["batches"]:
        starts = {stage["stage"]: at for stage in batch["stages"] if (at := _instant(stage["start"])) < begin}
        if _instant(batch["stages"][-1]["end"]) <= begin:
            settle(owed, batch["variant"], batch["kg"])
        elif starts:
            running.append(Running(batch["variant"], batch["kg"], starts))
    owed = {day: {name: kg for name, kg in wanted.items() if kg > 1e-6} for day, wanted in owed.items()}
    return replace(request, kilograms=owed, running=tuple(running))


def _late_kg(request: Request, first: date) -> float:
    """Return the kilograms asked for beyond what the planned days owe themselves, batches in progress aside."""
    own = demand.by_day(request.plant, first, market_day(request.end - timedelta(seconds=1)))
    asked, due = (sum(sum(kg.values()) for kg in owed.values()) for owed in (request.kilograms, own))
    return asked - due - sum(batch.kg for batch in request.running)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _write(outcome: PlanOutcome, as_of: datetime, wanted: Hand) -> None:
    outcome.folder.mkdir(parents=True, exist_ok=True)
    hand.keep(outcome.folder, wanted)
    write_atomically(outcome.folder / "plan.json", export.to_json(outcome.plan, made_at=as_of))
    write_atomically(outcome.folder / "plan.csv", export.to_csv(outcome.plan))
    write_atomically(outcome.folder / "plan.ics", export.to_ics(outcome.plan, made_at=as_of))
