"""A plan for other programs: ``plan.json`` with a versioned schema, ``plan.csv``, and a calendar for the shift."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd

from factory_lib.plan.schedule import costs
from factory_lib.plan.solve import Plan

SCHEMA = "factory-plan/2"
ICS_LINE_BYTES = 75  # RFC 5545, 3.1


def to_json(plan: Plan, *, made_at: datetime, more: Mapping[str, Any] | None = None) -> str:
    """Return the plan as JSON; instants are ISO 8601 in UTC, money in EUR, and what is unknown is null.

    ``more`` are keys of the caller's own, for the plan that comes after this one.
    """
    problem, request = plan.problem, plan.problem.request
    money = {**asdict(plan.costs), "paid": plan.costs.paid, "objective": plan.costs.objective}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "made_at": _iso(made_at),
        "plant": problem.plant.name,
        "begin": _iso(request.begin),
        "end": _iso(request.end),
        "slot_min": problem.plant.slot_min,
        "status": plan.status,
        "counted": "tolls included" if "toll_eur_mwh" in request.prices else "energy only",
        "costs_eur": {name: eur if plan.found else None for name, eur in money.items()},
        "gap": plan.gap if plan.schedule else None,
        "baselines_paid_eur": {
            name: costs(problem, laid).paid for name, laid in plan.baselines.items()
        },
        "owed_kg": {str(day): dict(by_variant) for day, by_variant in request.kilograms.items()},
        "batches": [_batch(number, rows) for number, rows in enumerate(plan.by_batch(), start=1)],
        "obstacles": [asdict(obstacle) for obstacle in plan.obstacles],
        **(more or {}),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(plan: Plan) -> str:
    """Return one line for each stage of each batch, instants in UTC."""
    return str(plan.table().to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ"))


def to_ics(plan: Plan, *, made_at: datetime) -> str:
    """Return an iCalendar (RFC 5545) with one event for each stage that is still to begin."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//factory_lib//production plan//EN"]
    rows: list[dict[Any, Any]] = plan.table().query("not begun").to_dict("records")
    for row in rows:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{row['start']:%Y%m%dT%H%M}-{row['batch']}-{row['stage'].replace(' ', '-')}@factory_lib",
            f"DTSTAMP:{made_at:%Y%m%dT%H%M%SZ}",
            f"DTSTART:{row['start']:%Y%m%dT%H%M%SZ}",
            f"DTEND:{row['end']:%Y%m%dT%H%M%SZ}",
            f"SUMMARY:{_escaped('{stage}, batch {batch} ({variant}, {kg:.0f} kg)'.format_map(row))}",
            "END:VEVENT",
        ]
    return "".join(_folded(line) + "\r\n" for line in [*lines, "END:VCALENDAR"])


def _batch(number: int, rows: pd.DataFrame) -> dict[str, Any]:
    stages: list[dict[Any, Any]] = rows[
        ["stage", "start", "end", "held_until", "power_kw", "begun"]
    ].to_dict("records")
    for stage in stages:
        stage |= {name: _iso(stage[name]) for name in ("start", "end", "held_until")}
    variant, kg = (
        rows["variant"].iloc[0],
        float(rows["kg"].iloc[0]),
    )  # unrounded: what is left is reckoned from it
    return {"batch": number, "variant": variant, "kg": kg, "stages": stages}


def _iso(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _escaped(text: str) -> str:
    for char in "\\;,":
        text = text.replace(char, f"\\{char}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> str:
    """Break a line into pieces of at most 75 bytes, never inside a character."""
    pieces, size = [""], 0
    for char in line:
        width = len(char.encode())
        if size + width > ICS_LINE_BYTES:
            pieces.append(" ")
            size = 1
        pieces[-1] += char
        size += width
    return "\r\n".join(pieces)
