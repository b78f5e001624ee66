"""Overrides of people: pinned starts, outages of machines, extra orders; each a record."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Literal

from factory_lib.clock import MADRID, local_instant, parse_instant, require_utc
from factory_lib.errors import BadInput
from factory_lib.files import write_atomically
from factory_lib.planner.request import Order, Outage, Pin, PlanRequest
from factory_lib.settings.plant import Plant

FILE = "overrides.json"
FIRM_EUR_KG_DAY = 0.05  # of an extra order that is finished before its due instant
FORMS = "'pin PRODUCT STAGE WHEN', 'out MACHINE UNTIL' or 'order PRODUCT KG DUE'"
TIMES = "Times are local: 14:30 on the planned day, or 2026-01-31T14:30."


@dataclass(frozen=True)
class Override:
    """A fact or wish of a person that plans keep until ``end``.

    ``what`` is a product (pin, order) or a machine (outage), ``stage`` the pinned one.
    ``begin`` is the pinned start, or from when on a machine is out of order; ``end``
    until when, or when an order is due.
    """

    number: int
    kind: Literal["pin", "outage", "order"]
    what: str
    begin: datetime
    end: datetime
    stage: str = ""
    kg: float = 0.0
    author: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.kind == "pin":
            text = f"pin {self.what} {self.stage} at {local_time(self.begin)}"
        elif self.kind == "outage":
            text = f"{self.what} out of order until {local_time(self.end)}"
        else:
            text = f"order of {self.kg:g} kg {self.what} due {local_time(self.end)}"
        return text + (f" ({self.reason})" if self.reason else "")


def local_time(instant: datetime) -> str:
    """Return an instant as the plant's clock shows it."""
    return f"{instant.astimezone(MADRID):%a %-d %b %H:%M}"


def stored(folder: Path) -> tuple[Override, ...]:
    """Return the overrides kept in a folder of plans."""
    file = folder / FILE
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return tuple(
        Override(**{**row, "begin": parse_instant(row["begin"]), "end": parse_instant(row["end"])})
        for row in rows
    )


def active(folder: Path, now: datetime) -> tuple[Override, ...]:
    """Return the overrides that reach beyond ``now``."""
    return tuple(item for item in stored(folder) if item.end > now)


def store(folder: Path, items: Sequence[Override]) -> None:
    """Keep overrides for the plans to come."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {**asdict(item), "begin": item.begin.isoformat(), "end": item.end.isoformat()}
        for item in items
    ]
    write_atomically(folder / FILE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def add(folder: Path, items: Sequence[Override], now: datetime) -> tuple[Override, ...]:
    """Store new overrides with numbers of their own and return all that are active.

    What is new of a machine takes the place of what was known of it.
    """
    machines = {item.what for item in items if item.kind == "outage"}
    before = stored(folder)
    kept = [
        item
        for item in before
        if item.end > now and not (item.kind == "outage" and item.what in machines)
    ]
    first = max((item.number for item in before), default=0) + 1
    kept += [replace(item, number=first + n) for n, item in enumerate(items)]
    store(folder, kept)
    return tuple(kept)


def remove_override(folder: Path, number: int) -> Override:
    """Remove an override and return it.

    Raises
    ------
    BadInput
        If there is none of that number.
    """
    items = stored(folder)
    gone = [item for item in items if item.number == number]
    if not gone:
        numbers = ", ".join(str(item.number) for item in items) or "none"
        raise BadInput(f"There is no override {number}.", next_step=f"Stored: {numbers}.")
    store(folder, [item for item in items if item.number != number])
    return gone[0]


def applied(request: PlanRequest, items: Sequence[Override]) -> PlanRequest:
    """Return the request with the overrides that concern its window."""
    inside = [item for item in items if item.begin < request.end and item.end >= request.begin]
    outages = [_outage(item) for item in _of("outage", inside)]
    pins = [_pin(item) for item in _of("pin", inside)]
    orders = [_order(item) for item in _of("order", inside) if item.end <= request.end]
    return replace(
        request,
        outages=(*request.outages, *outages),
        pins=(*request.pins, *pins),
        orders=(*request.orders, *orders),
    )


def _of(kind: str, items: Sequence[Override]) -> list[Override]:
    return [item for item in items if item.kind == kind]


def _outage(item: Override) -> Outage:
    return Outage(item.what, item.begin, item.end)


def _pin(item: Override) -> Pin:
    return Pin(item.what, item.stage, item.begin)


def _order(item: Override) -> Order:
    name = f"order {item.number}"
    return Order(item.what, item.kg, item.end, FIRM_EUR_KG_DAY, firm=True, name=name)


def parse(
    words: Sequence[str], plant: Plant, day: date, now: datetime, author: str = "", reason: str = ""
) -> list[Override]:
    """Read overrides as people write them (``FORMS``); ``day`` is that of a bare time.

    Raises
    ------
    BadInput
        If one is not understood, names what the plant does not have, or has passed.
    """
    return [
        replace(_parsed(text.split(), text, plant, day, now), author=author, reason=reason)
        for text in words
    ]


def _parsed(words: list[str], text: str, plant: Plant, day: date, now: datetime) -> Override:
    match words:
        case ["pin", product, stage, when]:
            _checked(product, list(plant.variants), "product")
            _checked(stage, [item.name for item in plant.stages], "stage")
            at = _instant(text, when, day, now)
            return Override(0, "pin", product, at, at, stage=stage)
        case ["out", machine, until]:
            _checked(machine, list(plant.machines), "machine")
            return Override(0, "outage", machine, now, _instant(text, until, day, now))
        case ["order", product, kg, due]:
            _checked(product, list(plant.variants), "product")
            at = _instant(text, due, day, now)
            return Override(0, "order", product, now, at, kg=_kilograms(text, kg))
    raise _misunderstood(text)


def _instant(text: str, when: str, day: date, now: datetime) -> datetime:
    """Return an instant as people write it: local, unless it carries an offset."""
    try:
        bare = time.fromisoformat(when) if ":" in when and "-" not in when else None
        local = datetime.combine(day, bare) if bare else datetime.fromisoformat(when)
    except ValueError:
        raise _misunderstood(text) from None
    if local.tzinfo is not None:
        instant = require_utc(local)
    else:
        instant = local_instant(local.date(), local.time())
        if instant.astimezone(MADRID).replace(tzinfo=None) != local:
            raise BadInput(f"{text!r}: clocks go forward, there is no {local:%H:%M} that day.")
    if instant <= now:
        raise BadInput(
            f"{text!r}: {local_time(instant)} has passed.", next_step="Name a time still to come."
        )
    return instant


def _kilograms(text: str, number: str) -> float:
    try:
        kg = float(number)
    except ValueError:
        raise _misunderstood(text) from None
    if not 0 < kg < 1e6:
        raise BadInput(f"{text!r}: {number} is not a number of kilograms to make.")
    return kg


def _checked(name: str, names: Sequence[str], kind: str) -> None:
    if name not in names:
        raise BadInput(f"There is no {kind} {name!r}.", next_step=f"There is {', '.join(names)}.")


def _misunderstood(text: str) -> BadInput:
    return BadInput(f"{text!r} is not understood.", next_step=f"Write {FORMS}. {TIMES}")
