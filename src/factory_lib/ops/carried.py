"""What one plan leaves to the next: batches in progress, kilograms still owed, orders still open.

A plan is taken as carried out until the next one begins. What it owed then, less what it has finished, is what the next
one owes: so planning the same day any number of times makes nothing twice and drops nothing. Where a plan turns out to
be impossible, the batches on the machines stay as the plan before had them.
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
from factory_lib.plan.replan import settle
from factory_lib.plan.request import Order, Request, Running

Document = Mapping[str, Any]  # a ``plan.json``
Owed = dict[date, dict[str, float]]
LEAST_KG = 1e-6
LOOK_BACK_DAYS = 7
NOTHING: Document = {"batches": (), "kilograms": {}}
REMEMBERED = timedelta(hours=36)  # of what is finished: as long as a day's plan can be made again


def earlier(folder: Path, first: date, begin: datetime, as_of: datetime) -> Document | None:
    """Return the plan carried out until ``begin``: of this day's own once it has begun, else the last one before."""
    for back in range(LOOK_BACK_DAYS + 1):  # a daily run may have been missed
        day = first - timedelta(days=back)
        file = folder / str(day) / "plan.json"
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if instant(found["made_at"]) <= as_of and (day < first or instant(found["begin"]) < begin):
                return found
    return None


def overdue(before: Document, now: datetime) -> tuple[Order, ...]:
    """Return the orders of ``before`` whose time has passed; what they lack is still owed."""
    orders = (Order(row["variant"], row["kg"], instant(row["due"])) for row in before.get("orders", ()))
    return tuple(order for order in orders if order.due <= now)


def left_over(request: Request, before: Document) -> Request:
    """Return the request with what ``before`` has running and still owes at its begin.

    An order stays firm while it is due within the window; one that was due before is owed like other kilograms, and
    one that is due later is left to the plan of its day.
    """
    owed = _owed(request, before)
    open_kg = {_key(order): order.kg for order in request.orders}
    open_kg |= {key: row["left_kg"] for row in before.get("orders", ()) if (key := _key_of(row)) in open_kg}
    running = []
    for batch in _made(before):
        starts = {stage["stage"]: at for stage in batch["stages"] if (at := instant(stage["start"])) < request.begin}
        end = instant(batch["stages"][-1]["end"])
        if end <= request.begin:
            _settle(batch["variant"], batch["kg"], end, owed, open_kg, request)
        elif starts:
            running.append(Running(batch["variant"], batch["kg"], starts))
    left = [replace(order, kg=kg) for order in request.orders if (kg := open_kg[_key(order)]) > LEAST_KG]
    today = owed.setdefault(market_day(request.begin), {})
    for order in left:
        if order.due <= request.begin:
            today[order.variant] = today.get(order.variant, 0.0) + order.kg
    orders = tuple(order for order in left if request.begin < order.due <= request.end)
    owed = {day: {name: kg for name, kg in wanted.items() if kg > LEAST_KG} for day, wanted in owed.items()}
    return replace(request, kilograms=owed, running=tuple(running), orders=orders)


def kept(request: Request, asked: Sequence[Order], before: Document | None, possible: bool) -> dict[str, Any]:
    """Return what ``plan.json`` keeps beside the plan: open orders, and batches of ``before`` that are not in it."""
    left = {(order.variant, order.due): order.kg for order in request.orders}
    told = {_key_of(row): row["left_kg"] for row in (before or {}).get("orders", ())}
    left |= {(o.variant, o.due): told.get(_key(o), o.kg) for o in asked if o.due > request.end}
    orders = [
        {"variant": o.variant, "kg": o.kg, "due": o.due.isoformat(), "left_kg": left.get((o.variant, o.due), 0.0)}
        for o in asked
    ]
    begin = request.begin
    if before is not None and instant(before["end"]) == request.end:  # the same day's, made again
        begin = min(begin, instant(before.get("first_begin", before["begin"])))
    state: dict[str, Any] = {"orders": orders, "first_begin": begin.isoformat()}
    if before is None:
        return state
    ends = [(batch, instant(batch["stages"][-1]["end"])) for batch in _made(before)]
    finished = [batch for batch, end in ends if end <= request.begin] + list(before.get("finished", ()))
    begun = [b for b, end in ends if instant(b["stages"][0]["start"]) < request.begin < end and not possible]
    recent = [batch for batch in finished if instant(batch["stages"][-1]["end"]) > request.begin - REMEMBERED]
    return state | {"running": begun, "finished": recent}


def late_kg(request: Request, first: date) -> float:
    """Return the kilograms asked for beyond what the planned days owe themselves, batches in progress aside."""
    own = demand.by_day(request.plant, first, market_day(request.end - timedelta(seconds=1)))
    asked, due = (sum(sum(kg.values()) for kg in owed.values()) for owed in (request.kilograms, own))
    return asked - due - sum(batch.kg for batch in request.running)


def instant(text: str) -> datetime:
    """Return an instant of a ``plan.json``."""
    return datetime.fromisoformat(text)


def _made(before: Document) -> Iterator[Mapping[str, Any]]:
    yield from before["batches"]
    yield from before.get("running", ())


def _owed(request: Request, before: Document) -> Owed:
    """Return what is owed by day; a day that ``before`` knows owes what it still owed then, and what is late is due."""
    today, last = market_day(request.begin), market_day(request.end - timedelta(seconds=1))
    known = {date.fromisoformat(text): kg for text, kg in before["kilograms"].items()}
    owed: Owed = {}
    for day, by_variant in {**request.kilograms, **known}.items():
        if day > last:
            continue
        wanted = owed.setdefault(max(day, today), {})  # a day that owes nothing any more is told to the next plan too
        for variant, kg in by_variant.items():
            wanted[variant] = wanted.get(variant, 0.0) + kg
    return owed


def _settle(
    variant: str, kg: float, end: datetime, owed: Owed, open_kg: dict[tuple[str, float, str], float], request: Request
) -> None:
    """Take a finished batch off the orders it was in time for, then off what is owed.

    An order is a promise of so many batches: one batch keeps up to its largest size of it, and kilograms that it lacks
    are owed like any others.
    """
    largest = request.plant.variants[variant].batch_max_kg
    for order in sorted(request.orders, key=lambda order: order.due):
        left = open_kg[_key(order)]
        if order.variant == variant and left > LEAST_KG and end <= order.due:
            kept_kg = min(left, largest)
            open_kg[_key(order)] = left - kept_kg
            if kg < kept_kg:
                day = owed.setdefault(max(market_day(order.due), market_day(request.begin)), {})
                day[variant] = day.get(variant, 0.0) + kept_kg - kg
            kg = max(0.0, kg - kept_kg)
            break
    settle(owed, variant, kg)


def _key(order: Order) -> tuple[str, float, str]:
    return order.variant, order.kg, order.due.isoformat()


def _key_of(row: Mapping[str, Any]) -> tuple[str, float, str]:
    return row["variant"], row["kg"], row["due"]
