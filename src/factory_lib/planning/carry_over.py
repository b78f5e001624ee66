"""What one plan leaves to the next: batches in progress, kilograms still owed, orders still open.

A plan is taken as carried out until the next one begins. What it owed then, less what
it has finished, is what the next one owes: so planning the same day any number of times
makes nothing twice and drops nothing. Where there is no plan, that answer is kept
beside the last one (``no_plan.json``). The last one stands while no machine it needs is
out of order; where it does not, only what has begun by then is a fact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from factory_lib.clock import market_day
from factory_lib.plan import demand
from factory_lib.plan.replan import still_owed
from factory_lib.plan.request import Order, Outage, Request, Running
from factory_lib.settings.plant import Plant

Document = Mapping[str, Any]  # a ``plan.json``
PLAN, NO_PLAN = "plan.json", "no_plan.json"
LOOK_BACK_DAYS = 7
REMEMBERED = timedelta(hours=36)  # of what is finished: as long as a day's plan can be made again
DAY = timedelta(days=1)


def earlier(folder: Path, first: date, begin: datetime, as_of: datetime) -> Document | None:
    """Return the answer carried out until ``begin``: the last made, by ``as_of``, of those begun before.

    The plan of the day after ``first`` may be it, for it begins in the afternoon
    before.
    """
    days = (first + n * DAY for n in range(-LOOK_BACK_DAYS, 2))  # a daily run may have been missed
    known = [
        found
        for day in days
        for found in _answers(folder, day, as_of)
        if instant(found["begin"]) < begin
    ]
    return max(
        known, key=lambda found: (instant(found["made_at"]), instant(found["begin"])), default=None
    )


def last_answer(folder: Path, day: date, as_of: datetime) -> Document | None:
    """Return the last answer for a day made by ``as_of``: a plan, or that there is none."""
    return max(
        _answers(folder, day, as_of), key=lambda found: instant(found["made_at"]), default=None
    )


def last_plan(folder: Path, day: date, as_of: datetime) -> Document | None:
    """Return the plan of a day that its files hold by ``as_of``, whether or not it was the last answer."""
    return next((found for found in _answers(folder, day, as_of) if _is_plan(found)), None)


def is_planned(folder: Path, day: date, as_of: datetime) -> bool:
    """Whether the last answer for a day is a plan."""
    last = last_answer(folder, day, as_of)
    return last is not None and _is_plan(last)


def _is_plan(found: Document) -> bool:
    return bool(found["batches"]) or found["status"] == "solved"  # the latter with nothing to make


def _answers(folder: Path, day: date, as_of: datetime) -> Iterator[Document]:
    for name in (PLAN, NO_PLAN):
        file = folder / str(day) / name
        if not file.exists():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        if instant(found["made_at"]) <= as_of and not found.get("last_stands"):
            yield found


def stands(last: Document, plant: Plant, outages: Sequence[Outage], begin: datetime) -> bool:
    """Whether all that a plan has to do from ``begin`` on can be done: no machine it needs is out of order then."""
    machines = {stage.name: stage.machine for stage in plant.stages}
    return not any(
        machines.get(stage["stage"]) == outage.machine
        and instant(stage["start"]) < outage.until
        and max(begin, outage.begin or begin) < instant(stage["end"])
        for batch in _made(last)
        for stage in batch["stages"]
        for outage in outages
    )


def overdue(before: Document | None, now: datetime) -> tuple[Order, ...]:
    """Return the orders of ``before`` whose time has passed; what they lack is still owed."""
    rows = before.get("orders", ()) if before else ()
    orders = (Order(row["variant"], row["kg"], instant(row["due"])) for row in rows)
    return tuple(order for order in orders if order.due <= now)


def left_over(request: Request, before: Document | None, now: datetime) -> Request:
    """Return the request with what ``before`` has running and still owes at its begin.

    An order stays firm while it is due within the window; one that is due later is left
    to the plan of its day.
    """
    before = before or {"batches": (), "owed_kg": {}, "end": request.end.isoformat()}
    told = {_key_of(row): row["left_kg"] for row in before.get("orders", ())}
    orders = tuple(replace(order, kg=told.get(_key(order), order.kg)) for order in request.orders)
    finished, running = [], []
    for batch in _made(before):
        starts = {
            stage["stage"]: at
            for stage in batch["stages"]
            if (at := instant(stage["start"])) < request.begin
        }
        if _is_finished(batch, request):
            finished.append((batch["variant"], batch["kg"], instant(batch["stages"][-1]["end"])))
        elif starts and not _is_spoilt(batch, request):
            running.append(Running(batch["variant"], batch["kg"], starts))
    kilograms = _owed(request, before, now)
    rest = still_owed(
        replace(request, kilograms=kilograms, orders=orders, running=tuple(running)), finished
    )
    return replace(rest, orders=tuple(order for order in rest.orders if order.due <= request.end))


def kept(
    request: Request,
    asked: Sequence[Order],
    before: Document | None,
    own: Document | None,
    planned: bool,
) -> dict[str, Any]:
    """Return what an answer keeps beside the plan: open orders, and batches of ``before`` that are not in it.

    Parameters
    ----------
    request : Request
        All that is owed, whether or not the plan makes it.
    own : mapping, optional
        The plan that this one takes the place of.
    """
    left = {(order.variant, order.due): order.kg for order in request.orders}
    told = {_key_of(row): row["left_kg"] for row in (before or {}).get("orders", ())}
    left |= {(o.variant, o.due): told.get(_key(o), o.kg) for o in asked if o.due > request.end}
    orders = [
        {
            "variant": o.variant,
            "kg": o.kg,
            "due": o.due.isoformat(),
            "left_kg": left.get((o.variant, o.due), 0.0),
        }
        for o in asked
    ]
    begin = (
        min(request.begin, instant(own.get("first_begin", own["begin"]))) if own else request.begin
    )
    owed_kg = {str(day): dict(by_variant) for day, by_variant in request.kilograms.items()}
    state: dict[str, Any] = {"orders": orders, "first_begin": begin.isoformat(), "owed_kg": owed_kg}
    if before is None:
        return state
    made = list(_made(before))
    finished = [batch for batch in made if _is_finished(batch, request)] + list(
        before.get("finished", ())
    )
    begun = [
        {
            **batch,
            "stages": [
                stage for stage in batch["stages"] if instant(stage["start"]) < request.begin
            ],
        }
        for batch in made
        if not planned
        and not _is_finished(batch, request)
        and instant(batch["stages"][0]["start"]) < request.begin
    ]
    recent = [
        batch
        for batch in finished
        if instant(batch["stages"][-1]["end"]) > request.begin - REMEMBERED
    ]
    return state | {"running": begun, "finished": recent}


def late_kg(request: Request, first: date) -> float:
    """Return the kilograms asked for beyond what the planned days owe themselves, batches in progress aside."""
    asked, due = (
        sum(sum(kg.values()) for kg in owed.values())
        for owed in (request.kilograms, _own(request, first))
    )
    return asked - due - sum(batch.kg for batch in request.running)


def put_off(request: Request, first: date) -> Request:
    """Return the request for what its days owe themselves and what is running; what is late waits for another plan."""
    own, running = _own(request, first), dict[str, float]()
    for batch in request.running:
        running[batch.variant] = running.get(batch.variant, 0.0) + batch.kg
    kilograms = {
        day: {name: min(kg, own.get(day, running).get(name, 0.0)) for name, kg in wanted.items()}
        for day, wanted in request.kilograms.items()
    }
    return replace(request, kilograms=kilograms)


def instant(text: str) -> datetime:
    """Return an instant of a ``plan.json``."""
    return datetime.fromisoformat(text)


def _made(before: Document) -> Iterator[Mapping[str, Any]]:
    yield from before["batches"]
    yield from before.get("running", ())


def _is_finished(batch: Mapping[str, Any], request: Request) -> bool:
    last = batch["stages"][-1]
    return (
        bool(last["stage"] == request.plant.stages[-1].name)
        and instant(last["end"]) <= request.begin
    )


def _is_spoilt(batch: Mapping[str, Any], request: Request) -> bool:
    """Whether a batch whose later stages nobody planned has waited longer than it may: its kilograms are owed again."""
    last = batch["stages"][-1]
    (stage,) = (stage for stage in request.plant.stages if stage.name == last["stage"])
    keeps = timedelta(hours=stage.hold_h, minutes=stage.wait_min)
    return stage is not request.plant.stages[-1] and instant(last["end"]) + keeps < request.begin


def _own(request: Request, first: date) -> demand.Kilograms:
    return demand.by_day(request.plant, first, market_day(request.end - timedelta(seconds=1)))


def _owed(request: Request, before: Document, now: datetime) -> demand.Kilograms:
    """Return what is owed by day; a day that ``before`` knows owes what it still owed then.

    Days since ``before`` that nobody planned owe their own.
    """
    first, last = min(request.kilograms), market_day(request.end - timedelta(seconds=1))
    missed = demand.by_day(
        request.plant, market_day(instant(before["end"])), min(first - DAY, market_day(now))
    )
    known = {date.fromisoformat(text): kg for text, kg in before["owed_kg"].items()}
    return {day: kg for day, kg in {**missed, **request.kilograms, **known}.items() if day <= last}


def _key(order: Order) -> tuple[str, float, str]:
    return order.variant, order.kg, order.due.isoformat()


def _key_of(row: Mapping[str, Any]) -> tuple[str, float, str]:
    return row["variant"], row["kg"], row["due"]
