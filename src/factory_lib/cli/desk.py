"""The verbs of a person at the desk: look, judge, acknowledge, back up; in words, or as JSON for a machine."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from getpass import getuser
from math import isnan
from typing import Any

from factory_lib import settings as _settings
from factory_lib.admin import backup
from factory_lib.cli import simulation
from factory_lib.cli.data import say
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.context import open_context
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts, diagnostics, health
from factory_lib.pipeline import quarantine
from factory_lib.state import open_state


def _doctor(chosen: Namespace) -> int:
    with simulation.provided(_settings.load(chosen.profile)) as settings:
        found = diagnostics.examine(settings, reach=True)
    if chosen.json:
        sys.stdout.write(json.dumps({"level": found.level, "checks": found.rows()}) + "\n")
    for check in () if chosen.json else found.checks:
        remedy = f"\n{'':<31}-> {check.next_step}" if check.next_step else ""
        sys.stdout.write(f"{check.level:<6}{check.name:<25}{check.finding}{remedy}\n")
    return int(found.level == "fail")


def _health(chosen: Namespace) -> int:
    with open_context(chosen.profile) as ctx:
        found = health.look(ctx)
    say(
        found,
        {name: getattr(found, name) for name in ("checks", "jobs", "calls", "latest", "alerts")},
        chosen.json,
    )
    return int(found.level == "fail")


def _alerts(chosen: Namespace) -> int:
    settings = _settings.load(chosen.profile)
    now = SystemClock(settings.clock_offset_s).now()
    if chosen.action in ("ack", "mute") and not chosen.name:
        raise BadInput(
            f"alerts {chosen.action} needs a name.",
            next_step="For instance 'gap/*' or job/ml_training.",
        )
    with open_state(settings) as state:
        if chosen.action == "list":
            _print(alerts.listed(state, every=chosen.all), chosen.json)
        elif chosen.action == "test":
            test = alerts.Event(
                alerts.Topic.TEST, "alerts", alerts.Severity.INFO, "This is a test."
            )
            alerts.raise_event(state, test, now)
            told = alerts.deliver(state, settings, now)
            _print(
                told if chosen.json else [{"told": alerts.words(line)} for line in told],
                chosen.json,
            )
        elif chosen.action == "ack":
            count = alerts.acknowledge(state, chosen.name, chosen.by or getuser(), now)
            _print([{"acknowledged": count}], chosen.json)
        else:
            if not 0 < chosen.hours <= LONGEST_SILENCE_H:
                raise BadInput(
                    f"--hours is more than 0 and at most {LONGEST_SILENCE_H:g}, not {chosen.hours:g}."
                )
            until = now + timedelta(hours=chosen.hours)
            _print(
                [{"muted": alerts.mute(state, chosen.name, until), "until": until.isoformat()}],
                chosen.json,
            )
    return 0


def _quarantine(chosen: Namespace) -> int:
    with open_context(chosen.profile) as ctx:
        if chosen.action == "list":
            _print(_records(quarantine.listed(ctx, chosen.series)), chosen.json)
            return 0
        needed = [
            "series",
            "since",
            "until",
            "reason",
            *(["value"] if chosen.action == "correct" else []),
        ]
        if missing := [name for name in needed if getattr(chosen, name) is None]:
            raise BadInput(f"quarantine {chosen.action} needs {', '.join(missing)}.")
        start, end = parse_instant(chosen.since), parse_instant(chosen.until)
        values = quarantine.Choice(chosen.series, start, end, chosen.source)
        author = chosen.by or getuser()
        if chosen.action == "correct":
            count = quarantine.correct(ctx, values, chosen.value, chosen.reason, author)
        else:
            verdict = "released" if chosen.action == "release" else "quarantined"
            count = quarantine.judge(ctx, values, verdict, chosen.reason, author)
    _print([{"values": count, "action": chosen.action, "by": author}], chosen.json)
    return 0


def _backup(chosen: Namespace) -> int:
    with open_context(chosen.profile) as ctx:
        _print([{"backup": str(backup.take(ctx))}], chosen.json)
    return 0


def _restore(chosen: Namespace) -> int:
    with open_context(chosen.profile) as ctx:
        folder, inventory = backup.bring_back(ctx, chosen.folder)
    _print(
        [{"restored": str(folder), "rows": int(inventory["rows"].sum()), "checksums": "equal"}],
        chosen.json,
    )
    return 0


def _copy(chosen: Namespace) -> int:
    with open_context(chosen.profile) as ctx:
        _print(_records(backup.copy_to(ctx, chosen.to)), chosen.json)
    return 0


LONGEST_SILENCE_H = 8784.0  # a year; what is to be silent for longer is better mended
WHAT_IF = {"price": "EUR/MWh", "temperature": "°C", "humidity": "%"}


def _predict(chosen: Namespace) -> int:
    if chosen.what_if is None:
        from factory_lib.cli import jobs

        return jobs.run(
            chosen.profile, ["ml_predictions"], as_of=chosen.as_of, force=True, as_json=chosen.json
        )
    from factory_lib.models.prediction import rule

    given = _what_if(chosen.what_if)
    with open_context(chosen.profile, chosen.as_of) as ctx:
        found = rule(ctx, given["price"], given["temperature"], given["humidity"])
    if chosen.json:
        sys.stdout.write(
            json.dumps({"kind": "rule", "given": given, **found}).replace("NaN", "null") + "\n"
        )
        return 0
    told = ", ".join(f"{name} {given[name]:g} {unit}" for name, unit in WHAT_IF.items())
    sys.stdout.write(f"rule, not a prediction: {told}\n")
    for name, value in found.items():
        words = value if isinstance(value, str) else "unknown" if isnan(value) else f"{value:.1f}"
        sys.stdout.write(f"  {name:<28}{words}\n")
    return 0


def _what_if(words: Sequence[str]) -> dict[str, float]:
    """Return the three values of ``name=number`` words.

    Raises
    ------
    BadInput
        If one is missing, unknown or no number.
    """
    pairs = dict(word.partition("=")[::2] for word in words)
    wanted = "price=EUR/MWh temperature=°C humidity=%"
    if set(pairs) != set(WHAT_IF):
        raise BadInput(
            f"--what-if needs {wanted}.",
            next_step="For instance price=80 temperature=24 humidity=50.",
        )
    try:
        return {name: float(text) for name, text in pairs.items()}
    except ValueError:
        raise BadInput(f"--what-if needs numbers: {wanted}.") from None


def _models(chosen: Namespace) -> int:
    from factory_lib.models import registry

    with open_context(chosen.profile) as ctx:
        if chosen.action == "list":
            _print(_records(registry.versions(ctx)), chosen.json)
            return 0
        if not chosen.name:
            raise BadInput(
                "models rollback needs a name.", next_step="`factory models` lists them."
            )
        _print(
            [{"model": chosen.name, "champion": registry.rollback(ctx, chosen.name)}], chosen.json
        )
    return 0


def _plan(chosen: Namespace) -> int:
    """Plan, print the brief and where the files are; 1 where there is no plan."""
    from factory_lib.monitoring import plan_alerts
    from factory_lib.planning import daily, overrides

    asked = [
        " ".join([kind, *words])
        for kind in ("pin", "out", "order")
        for words in getattr(chosen, kind)
    ]
    wishes = [*asked, *([overrides.NONE] if chosen.clear else [])]
    with open_context(chosen.profile, chosen.as_of) as ctx:
        first = daily.day_called(chosen.day, ctx.as_of)
        found = daily.plan_today(ctx, chosen.days, first, wishes=wishes, language=chosen.language)
        plan_alerts.raise_alerts(ctx, found)
    if chosen.json:
        told: dict[str, Any] = {
            name: getattr(found, name) for name in ("level", "verdict", "figures", "brief", "notes")
        }
        tables = {
            name: _records(getattr(found, name))
            for name in ("schedule", "costs", "watched", "obstacles")
        }
        sys.stdout.write(json.dumps({**told, **tables, "files": found.files}) + "\n")
    else:
        parts = [found.verdict, found.brief, "\n".join(found.notes), "\n".join(found.files)]
        sys.stdout.write("\n\n".join(parts) + "\n")
    return int(not found.schedule.size and found.level != "ok")


VERBS: Mapping[str, Callable[[Namespace], int]] = {
    "doctor": _doctor,
    "health": _health,
    "alerts": _alerts,
    "quarantine": _quarantine,
    "backup": _backup,
    "restore": _restore,
    "copy": _copy,
    "predict": _predict,
    "plan": _plan,
    "models": _models,
}


def _records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        frame.to_json(orient="records", date_format="iso", date_unit="s")
    )
    return rows


def _print(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(list(rows)) + "\n")
        return
    for row in rows:
        sys.stdout.write(
            "  ".join(f"{name} {value}" for name, value in row.items() if value not in ("", None))
            + "\n"
        )
    if not rows:
        sys.stdout.write("none\n")
