"""Overrides of people: pinned starts, outages of machines, extra orders; each a record."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from factory_lib.clock import FIRST_YEAR, LAST_YEAR, epoch, local_time
from factory_lib.errors import BadInput
from factory_lib.files import lock, write_atomically
from factory_lib.planner.request import Order, Outage, Pin
from factory_lib.settings.plant import Plant

FILE = "overrides.json"
REMEMBERED = timedelta(days=14)  # what was demanded before is not made up for
EARLY_EUR_KG_DAY = 0.05  # of an extra order that is finished before it is due
HOW = (
    "Write 'pin PRODUCT STAGE WHEN', 'out MACHINE UNTIL' or 'order PRODUCT KG DUE'. "
    "Times are local: 14:30 on the planned day, or YYYY-MM-DDThh:mm."
)


class Override(msgspec.Struct, frozen=True):
    """A fact or wish of a person that plans keep until ``end``.

    ``what`` is a product (pin, order) or a machine (outage), ``stage`` the pinned one.
    ``begin`` is the pinned start, or from when on a machine is out of order; ``end``
    until when, or when an order is due. Older ones do not say when they were created:
    outages and orders when they begin.
    """

    kind: Literal["pin", "outage", "order"]
    what: str
    begin: datetime
    end: datetime
    stage: str = ""
    kg: float = 0.0
    author: str = ""
    reason: str = ""
    number: int = 0
    created_at: datetime | None = None

    def __str__(self) -> str:
        text = {
            "pin": f"pin {self.what} {self.stage} at {local_time(self.begin)}",
            "outage": f"{self.what} out of order until {local_time(self.end)}",
            "order": f"order of {self.kg:g} kg {self.what} due {local_time(self.end)}",
        }
        return text[self.kind] + (f" ({self.reason})" if self.reason else "")


def stored(folder: Path) -> tuple[Override, ...]:
    """Return the overrides kept in a folder of plans; a damaged file holds none."""
    return _read(folder / FILE) or ()


def damaged(folder: Path) -> tuple[str, ...]:
    """Return the files of overrides that cannot be read, those set aside too."""
    return tuple(
        str(file) for file in sorted(folder.glob("overrides*.json")) if _read(file) is None
    )


def _read(file: Path) -> tuple[Override, ...] | None:
    try:
        content = file.read_bytes() if file.exists() else b"[]"
        return msgspec.json.decode(content, type=tuple[Override, ...])
    except (OSError, ValueError, RecursionError):
        return None


def fitting(folder: Path, plant: Plant, now: datetime) -> tuple[Override, ...]:
    """Return the overrides known by ``now`` that name what the plant has."""
    return tuple(item for item in created_by(folder, now) if not _unknown(item, plant))


def created_by(folder: Path, now: datetime) -> tuple[Override, ...]:
    """Return the stored overrides that had been created by ``now``."""
    return tuple(
        item
        for item in stored(folder)
        if (item.created_at or (now if item.kind == "pin" else item.begin)) <= now
    )


def _unknown(item: Override, plant: Plant) -> str:
    """Return what an override names that the plant has not; nothing where it has all."""
    names = [*(plant.machines if item.kind == "outage" else plant.variants)]
    stages = ["", *(stage.name for stage in plant.stages)]
    for name, present in ((item.what, names), (item.stage, stages)):
        if name not in present:
            return f"the plant has no {name}, but {', '.join(filter(None, present))}"
    return ""


def remarks(items: Sequence[Override], plant: Plant, begin: datetime, end: datetime) -> list[str]:
    """Return a line for each override, and whether a plan of a window could take note of it."""
    lines = []
    for item in items:
        heeded = (*outages([item], begin, end), *pins([item], begin, end))
        heeded += orders([item], datetime.min.replace(tzinfo=UTC), end)
        why = _unknown(item, plant) or ("" if heeded else "it is not of the days of this plan")
        lines.append(f"Override {item.number}: {item}." + (f" Left out: {why}." if why else ""))
    return lines


def active(folder: Path, now: datetime) -> tuple[Override, ...]:
    """Return the overrides that reach beyond ``now``."""
    return tuple(item for item in created_by(folder, now) if item.end > now)


@contextmanager
def _editing(folder: Path) -> Iterator[list[Override]]:
    """Yield the stored overrides; what is left in the list is stored when the block ends.

    One process at a time: two people may write at once. A damaged file is set aside.
    """
    file = folder / FILE
    with lock(folder):
        before = _read(file)
        items = list(before or ())
        yield items
        if before is None:
            file.rename(folder / f"overrides-damaged-{int(file.stat().st_mtime)}.json")
        write_atomically(file, msgspec.json.format(msgspec.json.encode(items), indent=1))


def add(
    folder: Path, items: Sequence[Override], now: datetime, *, clear: bool = False
) -> tuple[Override, ...]:
    """Store new overrides with numbers of their own and return them; ``clear`` drops all others.

    What is new of a machine takes the place of what was known of it. What has passed stays
    for a while: the kilograms of an order are demanded beside those of its week.
    """
    out = {item.what for item in items if item.kind == "outage"}
    folder.mkdir(parents=True, exist_ok=True)
    with _editing(folder) as stored_items:
        first = max((item.number for item in stored_items), default=0) + 1
        new = [msgspec.structs.replace(item, number=first + n) for n, item in enumerate(items)]
        kept = [
            one
            for one in stored_items
            if one.end > now - 2 * REMEMBERED  # plans before demanded them
            and (one.kind != "outage" or one.what not in out)
        ]
        stored_items[:] = [*([] if clear else kept), *new]
    return tuple(new)


def remove_override(folder: Path, number: int) -> Override:
    """Remove an override and return it.

    Raises
    ------
    BadInput
        If there is none of that number.
    """
    editing: AbstractContextManager[list[Override]] = nullcontext([])
    if folder.is_dir():  # else there is nothing to lock
        editing = _editing(folder)
    with editing as items:
        removed = next((item for item in items if item.number == number), None)
        if removed is None:
            next_step = "`factory plan override list` shows those that there are."
            raise BadInput(f"There is no override {number}.", next_step=next_step)
        items.remove(removed)
    return removed


def outages(items: Sequence[Override], begin: datetime, end: datetime) -> tuple[Outage, ...]:
    """Return the outages that reach into a window."""
    return tuple(
        Outage(one.what, one.begin, one.end)
        for one in items
        if one.kind == "outage" and one.begin < end and one.end > begin
    )


def pins(items: Sequence[Override], begin: datetime, end: datetime) -> tuple[Pin, ...]:
    """Return the pinned starts in a window."""
    return tuple(
        Pin(one.what, one.stage, one.begin)
        for one in items
        if one.kind == "pin" and begin <= one.begin < end
    )


def orders(items: Sequence[Override], begin: datetime, end: datetime) -> tuple[Order, ...]:
    """Return the extra orders that are due in a window."""
    return tuple(
        Order(one.what, one.kg, one.end, EARLY_EUR_KG_DAY, firm=True, name=f"order {one.number}")
        for one in items
        if one.kind == "order" and begin < one.end <= end
    )


def parse(
    text: str, plant: Plant, day: date, now: datetime, author: str = "", reason: str = ""
) -> Override:
    """Read an override as people write it (``HOW``); ``day`` is that of a bare time.

    Raises
    ------
    BadInput
        If it is not understood, names what the plant does not have, or has passed.
    """
    try:
        item = _parsed(text.split(), day, now, plant.zone)
    except ValueError:
        raise BadInput(f"{text!r} is not understood.", next_step=HOW) from None
    if unknown := _unknown(item, plant):
        raise BadInput(f"{text!r}: {unknown}.")
    if item.kind == "pin" and epoch(item.begin) % (60 * plant.slot_min):
        raise BadInput(
            f"{text!r}: {local_time(item.begin)} is no start of a slot; "
            f"plans are in slots of {plant.slot_min} min."
        )
    if item.end <= now:
        raise BadInput(f"{text!r}: {local_time(item.end)} has passed.")
    return msgspec.structs.replace(item, author=author, reason=reason, created_at=now)


def _parsed(words: Sequence[str], day: date, now: datetime, zone: ZoneInfo) -> Override:
    instant = partial(_instant, day=day, zone=zone)
    match words:
        case ["pin", product, stage, when]:
            at = instant(when)
            return Override("pin", product, at, at, stage=stage)
        case ["out", machine, until]:
            return Override("outage", machine, now, instant(until))
        case ["order", product, kg, due] if 0 < float(kg) < 1e6:
            return Override("order", product, now, instant(due), kg=float(kg))
    raise ValueError(words)


def _instant(when: str, day: date, zone: ZoneInfo) -> datetime:
    """Return an instant as people write it: local, unless it carries an offset."""
    written = datetime.fromisoformat(when if "-" in when else f"{day}T{when}")
    if not FIRST_YEAR <= written.year <= LAST_YEAR:
        raise ValueError(when)
    local = written if written.tzinfo else written.replace(tzinfo=zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(local.tzinfo) != local:
        raise BadInput(f"{when}: clocks go forward, there is no {local:%H:%M} that day.")
    return instant
