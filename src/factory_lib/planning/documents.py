"""Plans on disk: the latest for people and programs, each one for replays and reviews.

``plans/plan.{json,csv,ics}`` are of the latest plan; ``plans/<day>/<time>Z.json`` keep
each. A replay of real days has a folder of its own, so that it rewrites no history.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd

from factory_lib.clock import day_start, local_day, market_day
from factory_lib.context import RunContext
from factory_lib.files import write_atomically
from factory_lib.frames import UTC_S
from factory_lib.settings.plant import Plant

SCHEMA = "factory-plan/3"
BASELINE = "shift_full"  # the plan's number of batches, begun with the shift
MONTH = timedelta(days=32)  # the days whose plans a new one reads
KEPT = "[0-9]*/*Z.json"
STAGE_COLUMNS = ["batch", "product", "kg", "stage", "machine", "kw", "start", "end"]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
# An event of iCalendar (RFC 5545). A batch and a stage are one for ever (UID); a later plan raises
# its SEQUENCE, so that the entry is updated.
EVENT = """BEGIN:VEVENT
UID:batch-{batch}-{uid}@factory_lib
SEQUENCE:{sequence}
STATUS:{status}
DTSTAMP:{made_at:%Y%m%dT%H%M%SZ}
DTSTART:{start:%Y%m%dT%H%M%SZ}
DTEND:{end:%Y%m%dT%H%M%SZ}
SUMMARY:{title}
END:VEVENT"""


class PlanDocument(msgspec.Struct, frozen=True):
    """A plan as later plans read it.

    Attributes
    ----------
    first_demand : date
        The first day whose kilograms were demanded.
    surplus_kg : mapping of str to float
        Made before that day beyond what was demanded before it, by product.
    stages : DataFrame
        ``STAGE_COLUMNS`` of each stage of each batch.
    eur_kg : mapping of str to float
        Price of a kilogram, by schedule.
    """

    made_at: Instant
    begin: Instant
    end: Instant
    first_demand: date
    stages: pd.DataFrame
    eur_kg: Mapping[str, float] = {}
    surplus_kg: Mapping[str, float] = {}

    @property
    def saved_eur_kg(self) -> float:
        """Return what a kilogram costs less than begun with the shift; NaN where unknown."""
        return self.eur_kg.get(BASELINE, np.nan) - self.eur_kg.get("plan", np.nan)


def plans_folder(ctx: RunContext) -> Path:
    """Return where the plans of a context lie; those of replays hide none of the present."""
    return ctx.settings.paths.data / "plans" / ("replayed" if ctx.replay else "")


def kept(ctx: RunContext, since: date | None = None) -> tuple[list[PlanDocument], tuple[str, ...]]:
    """Read the plans made by ``ctx.as_of`` from ``since`` on; from a month ago without it.

    Returns
    -------
    list of PlanDocument
        The oldest first. ``plan.json`` is a copy of the latest and stands in for it.
    tuple of str
        The files that should hold a plan and do not.
    """
    files = _files(ctx, since or market_day(ctx.as_of) - MONTH)
    plans = {file: _document(file) for file in files}
    by_time = {plan.made_at: plan for plan in plans.values() if plan and plan.made_at <= ctx.as_of}
    damaged = [str(file) for file, plan in plans.items() if plan is None]
    return [plan for _, plan in sorted(by_time.items())], tuple(damaged)


def _files(ctx: RunContext, first: date) -> list[Path]:
    """Return the files of plans of the days from ``first`` to today, each once."""
    folder = plans_folder(ctx)
    files = {*(ctx.settings.paths.data / "plans").glob(KEPT), *folder.glob(KEPT)}
    today = str(market_day(ctx.as_of))
    days = [file for file in files if str(first) <= file.parent.name <= today]
    return [*sorted(days), *folder.glob("plan.json")]


class _Stage(msgspec.Struct):
    batch: int
    product: str
    kg: float
    stage: str
    machine: str
    kw: float
    people: int
    begun: bool
    start: Instant
    end: Instant
    held_until: Instant


class _Schedule(msgspec.Struct):
    schedule: str
    kg: float
    energy_eur: float
    toll_eur: float
    paid_eur: float


class _Deviation(msgspec.Struct):
    kind: str
    subject: str
    amount: float
    unit: str
    eur: float
    begin: Instant | None = None


class _Form(msgspec.Struct):
    """The part of ``plan.json`` that every reader relies on."""

    made_at: Instant
    begin: Instant
    end: Instant
    source: str
    stages: list[_Stage]
    schedules: list[_Schedule] = []
    gave_way: list[_Deviation] = []
    contract: list[dict[str, str | float | None]] = []
    overrides: list[Any] = []


def latest_plan(ctx: RunContext) -> dict[str, Any]:
    """Return the content of ``plan.json``, or of the newest copy where it is damaged.

    Nothing where there is no plan. ``damaged`` names the file that a copy stands in for.
    """
    newest, *copies = _files(ctx, market_day(ctx.as_of) - MONTH)[::-1] or [Path()]
    if newest.name != "plan.json":
        return {}
    for file in (newest, *copies):
        try:
            content = msgspec.json.decode(file.read_bytes())
            msgspec.convert(content, _Form)
        except (OSError, ValueError, RecursionError):
            continue
        return content if file is newest else {**content, "damaged": newest.name}
    return {"damaged": newest.name}


def _document(file: Path) -> PlanDocument | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=PlanDocument, dec_hook=_stages)
    except (OSError, ValueError, RecursionError):
        return None


def carried_out(plans: Sequence[PlanDocument], until: datetime) -> pd.DataFrame:
    """Return the stages that began under each plan before the next one was made, by ``until``.

    A stage that was begun is a fact; what a later plan says of the same batch and stage
    is what counts. A batch that was going on and is in the next plan no more was lost:
    the stage that it was in was not finished. ``saved_eur_kg`` is what a kilogram of the
    plan cost less than begun with the shift; NaN where that was not compared.
    """
    ends = [*(plan.begin for plan in plans), until][1:]
    parts = [
        one.stages[one.stages["start"] < end].assign(saved_eur_kg=one.saved_eur_kg)
        for one, end in zip(plans, ends, strict=True)
    ]
    for n, after in enumerate(plans[1:]):
        lost = ~parts[n]["batch"].isin(after.stages["batch"])
        parts[n] = parts[n][~(lost & (parts[n]["end"] > pd.Timestamp(after.begin)))]
    none = _stages(pd.DataFrame, []).assign(saved_eur_kg=np.nan)
    stages = pd.concat([none, *parts], ignore_index=True)
    return stages.drop_duplicates(["batch", "stage"], keep="last", ignore_index=True)


def saved_this_month(ctx: RunContext, done: pd.DataFrame) -> float | None:
    """Return what the kilograms finished this month cost less than begun with the shift, EUR.

    Each is valued with the plan that its last stage began under. None where no such plan
    was compared.

    Parameters
    ----------
    done : DataFrame
        From ``carried_out``.
    """
    last = done[done["stage"] == ctx.settings.plant.stages[-1].name]
    zone = ctx.settings.plant.zone
    month = day_start(local_day(ctx.as_of, zone).replace(day=1), zone)
    ended = last["end"].between(month, ctx.as_of)
    saved = (last["kg"] * last["saved_eur_kg"])[ended]
    return None if len(saved) and saved.isna().all() else float(saved.sum())


def with_latest_start(stages: pd.DataFrame, plant: Plant) -> pd.DataFrame:
    """Return the stages by start, with the ``latest_start`` that leaves the rest as planned.

    A stage waits no longer than the one before it allows, and is over when the next one
    of its batch begins.
    """
    waits_min = {one.name: max(one.wait_min, one.hold_h * 60) for one in plant.stages}
    rows = stages.copy()
    before_next = rows.groupby("batch")["start"].shift(-1) - (rows["end"] - rows["start"])
    wait = pd.to_timedelta(rows["stage"].map(waits_min), unit="min")
    after_last = (rows["end"] + wait).groupby(rows["batch"]).shift(1)
    latest = pd.concat([before_next, after_last], axis=1).min(axis=1)
    rows["latest_start"] = latest.where(latest > rows["start"], rows["start"])
    return rows.sort_values(["start", "batch"], ignore_index=True)


def day_ended(stages: pd.DataFrame, zone: ZoneInfo) -> pd.Series:
    """Return the local day of which each stage was the work; midnight ends the day before."""
    return (stages["end"] - pd.Timedelta(seconds=1)).dt.tz_convert(zone).dt.date


def write(folder: Path, fields: Mapping[str, Any], before: PlanDocument | None) -> tuple[str, ...]:
    """Write a plan to its files and return their paths.

    Parameters
    ----------
    fields : mapping
        Those of ``PlanDocument``, and whatever else ``plan.json`` holds.
    before : PlanDocument, optional
        The plan that this one takes the place of: what it alone had is cancelled in the
        calendar.
    """
    made_at = fields["made_at"]
    encoded = msgspec.json.encode({"schema": SCHEMA, **fields}, enc_hook=_plain)
    document = msgspec.json.format(encoded, indent=1)
    contents = {
        f"{market_day(made_at)}/{made_at:%H%M%S}Z.json": document,
        "plan.json": document,
        "plan.csv": fields["stages"].to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ"),
        "plan.ics": to_ics(fields["stages"], made_at, None if before is None else before.stages),
    }
    (folder / str(market_day(made_at))).mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return tuple(str(folder / name) for name in contents)[1:]


def _plain(frame: pd.DataFrame) -> msgspec.Raw:
    """Return a frame as JSON."""
    text = frame.to_json(orient="records", date_format="iso", date_unit="s")
    return msgspec.Raw(text.encode())


def _stages(_: type, rows: Any) -> pd.DataFrame:
    stages = pd.DataFrame(rows, columns=STAGE_COLUMNS)
    if stages.isna().any(axis=None):
        raise ValueError("a stage lacks a value")
    return stages.astype({"kg": "float64", "kw": "float64", "start": UTC_S, "end": UTC_S})


def to_ics(stages: pd.DataFrame, made_at: datetime, before: pd.DataFrame | None = None) -> str:
    """Return an iCalendar with an event for each stage that is still to begin.

    What only the plan ``before`` had is cancelled.
    """
    gone = None if before is None else before.assign(status="CANCELLED")
    rows = pd.concat([stages.assign(status="CONFIRMED"), gone]).drop_duplicates(["batch", "stage"])
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//factory_lib//production plan//EN"]
    coming: list[dict[Any, Any]] = rows[rows["start"] >= made_at].to_dict("records")
    for row in coming:
        title = "{stage}, batch {batch} ({product}, {kg:.0f} kg)".format_map(row)
        row["title"] = re.sub(r"([\\;,])", r"\\\1", title)
        row["uid"] = row["stage"].replace(" ", "-")
        times = {"made_at": made_at, "sequence": int(made_at.timestamp()) // 60}
        lines += EVENT.format_map(row | times).split("\n")
    return "".join(f"{_folded(line)}\r\n" for line in [*lines, "END:VCALENDAR"])


def _folded(line: str) -> str:
    """Break a line into pieces of at most 75 bytes; a character has up to four."""
    size = 74 if line.isascii() else 18
    return "\r\n ".join(line[at : at + size] for at in range(0, len(line), size))
