"""The shift leader's hand: wishes in words, one hand for the plant, each wish kept until its time has passed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeVar

from factory_lib.clock import MADRID, local_instant, require_utc
from factory_lib.errors import BadInput
from factory_lib.files import write_atomically
from factory_lib.plan.request import Order, Outage, Pin
from factory_lib.settings.plant import Plant

GRAMMAR = "'pin VARIANT STAGE WHEN', 'out MACHINE UNTIL' or 'order VARIANT KG DUE'"
TIMES = "Times are local: 14:30 on the planned day, or 2026-01-31T14:30."
NONE = "none"  # takes all wishes away
_FILE = "hand.json"
T = TypeVar("T", Pin, Outage, Order)


@dataclass(frozen=True)
class Hand:
    """What the shift leader asks for, and the words it was asked in."""

    words: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()
    outages: tuple[Outage, ...] = ()
    orders: tuple[Order, ...] = ()

    def without(self, word: str, plant: Plant, day: date) -> Hand:
        """Return the hand less one of its wishes."""
        return read([other for other in self.words if other != word], plant, day)


def kept(folder: Path) -> list[str]:
    """Return the wishes kept in ``folder``."""
    file = folder / _FILE
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def keep(folder: Path, hand: Hand) -> None:
    """Keep the wishes for the plans to come."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _FILE, json.dumps(hand.words))


def held(before: Hand, said: Hand, now: datetime) -> list[str]:
    """Return the words of both that still lie ahead; what is said of a machine takes the place of what was."""
    machines = {outage.machine for outage in said.outages}
    told = (
        *((pin.start, word, "") for pin, word in _with_words(before, before.pins, "pin")),
        *(
            (outage.until, word, outage.machine)
            for outage, word in _with_words(before, before.outages, "out")
        ),
        *((order.due, word, "") for order, word in _with_words(before, before.orders, "order")),
    )
    ahead = {word for at, word, machine in told if at > now and machine not in machines}
    return [
        *(word for word in before.words if word in ahead and word not in said.words),
        *said.words,
    ]


def _with_words(hand: Hand, wishes: tuple[T, ...], verb: str) -> Iterator[tuple[T, str]]:
    return zip(wishes, (word for word in hand.words if word.split()[0] == verb), strict=True)


def read(words: Sequence[str], plant: Plant, day: date) -> Hand:
    """Read wishes (``GRAMMAR``); ``day`` is what a bare time of day means.

    Raises
    ------
    BadInput
        If one is not understood, or names what the plant does not have.
    """
    said = tuple(_with_day(word, day) for word in words if word != NONE)
    pins, outages, orders = [], [], []
    for word in said:
        match word.split():
            case ["pin", variant, stage, at]:
                _known(variant, list(plant.variants), "variant")
                pins.append(
                    Pin(
                        variant,
                        _known(stage, [s.name for s in plant.stages], "stage"),
                        _instant(word, at),
                    )
                )
            case ["out", machine, until]:
                outages.append(
                    Outage(_known(machine, list(plant.machines), "machine"), _instant(word, until))
                )
            case ["order", variant, kg, due]:
                _known(variant, list(plant.variants), "variant")
                orders.append(Order(variant, _kilograms(word, kg), _instant(word, due)))
            case _:
                raise _misunderstood(word)
    return Hand(said, tuple(pins), tuple(outages), tuple(orders))


def _with_day(word: str, day: date) -> str:
    """Write a bare time of day out, so that a wish means the same when it is read again on another day."""
    *parts, last = word.split() or [""]
    try:
        at = time.fromisoformat(last) if ":" in last and "T" not in last else None
    except ValueError:
        raise _misunderstood(word) from None
    if at is None:
        return " ".join([*parts, last])
    if parts and _is_date(parts[-1]):  # 2026-01-31 14:30
        return " ".join([*parts[:-1], f"{parts[-1]}T{last}"])
    return " ".join([*parts, f"{day}T{last}"])


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _instant(word: str, text: str) -> datetime:
    """Return an instant as the shift leader says it: local, unless it carries an offset."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        raise _misunderstood(word) from None
    if said.tzinfo is not None:
        return require_utc(said)
    instant = local_instant(said.date(), said.time())
    if instant.astimezone(MADRID).replace(tzinfo=None) != said:
        raise BadInput(f"{word!r}: the clocks go forward, there is no {said:%H:%M} that day.")
    return instant


def _kilograms(word: str, text: str) -> float:
    try:
        kg = float(text)
    except ValueError:
        raise _misunderstood(word) from None
    if not 0 < kg < 1e6:
        raise BadInput(f"{word!r}: {text} is not a number of kilograms to make.")
    return kg


def _known(name: str, names: Sequence[str], kind: str) -> str:
    if name not in names:
        raise BadInput(f"There is no {kind} {name!r}.", next_step=f"There is {', '.join(names)}.")
    return name


def _misunderstood(word: str) -> BadInput:
    return BadInput(f"{word!r} is not understood.", next_step=f"Say {GRAMMAR}. {TIMES}")
