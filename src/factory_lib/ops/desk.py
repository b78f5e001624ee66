"""The verbs of a person at the desk: look, judge, acknowledge, back up; in words, or as JSON for a machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from getpass import getuser
from pathlib import Path
from typing import Any

from factory_lib import settings as _settings
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput
from factory_lib.house import open_house
from factory_lib.state import State


def doctor(profile: str | None, *, as_json: bool) -> int:
    """Print every check with what to do; exit code 1 where one fails."""
    from factory_lib.ops.doctor import examine

    found = examine(_settings.load(profile), reach=True)
    if as_json:
        sys.stdout.write(json.dumps({"level": found.level, "checks": found.rows()}) + "\n")
    else:
        for check in found.checks:
            remedy = f"\n{'':<31}-> {check.next_step}" if check.next_step else ""
            sys.stdout.write(f"{check.level:<6}{check.name:<25}{check.finding}{remedy}\n")
    return int(found.level == "fail")


def health(profile: str | None, *, as_json: bool) -> int:
    """Print what the health notebook shows."""
    from factory_lib.ops.data import say
    from factory_lib.ops.health import look

    with open_house(profile) as house:
        found = look(house)
    say(found, {name: getattr(found, name) for name in ("checks", "jobs", "calls", "latest", "alerts")}, as_json)
    return int(found.level == "fail")


def alerts(
    profile: str | None, action: str, pattern: str | None, *, hours: float, every: bool, by: str | None, as_json: bool
) -> int:
    """List the alerts, acknowledge or mute those that match ``topic/entity``, or send one through every channel."""
    from factory_lib.ops import alerts as core

    settings = _settings.load(profile)
    now = SystemClock(settings.clock_offset_s).now()
    if action in ("ack", "mute") and not pattern:
        raise BadInput(f"alerts {action} needs a name.", next_step="For instance 'gap/*' or job/ml_training.")
    with closing(State(settings.paths.state)) as state:
        if action == "list":
            _print(core.listed(state, every=every), as_json)
            return 0
        if action == "test":
            core.raise_event(state, core.Event(core.Topic.TEST, "alerts", core.Severity.INFO, "This is a test."), now)
            _print(core.deliver(state, settings, now), as_json)
            return 0
        if action == "ack":
            count = core.acknowledge(state, str(pattern), by or getuser(), now)
        else:
            count = core.mute(state, str(pattern), now + timedelta(hours=hours))
    _print([{"alerts": count, "action": action}], as_json)
    return 0


def quarantine(profile: str | None, action: str, given: Mapping[str, Any], *, as_json: bool) -> int:
    """List barred values; release, reject or correct those of a series in a window, with a reason and a name."""
    from factory_lib.ops import quarantine as core

    with open_house(profile) as house:
        if action == "list":
            _print(_records(core.listed(house, given["series"])), as_json)
            return 0
        if missing := [name for name in ("series", "since", "until", "reason") if not given[name]]:
            raise BadInput(f"quarantine {action} needs {', '.join(missing)}.")
        window = (parse_instant(given["since"]), parse_instant(given["until"]))
        choice = core.Choice(given["series"], *window, given["source"])
        author = given["by"] or getuser()
        if action == "correct":
            if given["value"] is None:
                raise BadInput("quarantine correct needs --value.")
            count = core.correct(house, choice, given["value"], given["reason"], author)
        else:
            verdict = "released" if action == "release" else "quarantined"
            count = core.judge(house, choice, verdict, given["reason"], author)
    _print([{"values": count, "action": action, "by": author}], as_json)
    return 0


def backup(profile: str | None, *, as_json: bool) -> int:
    """Take a backup and print where it is."""
    from factory_lib.ops import backup as core

    with open_house(profile) as house:
        _print([{"backup": str(core.take(house))}], as_json)
    return 0


def restore(profile: str | None, folder: Path | None, *, as_json: bool) -> int:
    """Bring a backup back; the newest one unless named."""
    from factory_lib.ops import backup as core

    with open_house(profile) as house:
        chosen, inventory = core.bring_back(house, folder)
    _print([{"restored": str(chosen), "rows": int(inventory["rows"].sum()), "checksums": "equal"}], as_json)
    return 0


def copy(profile: str | None, backend: str, *, as_json: bool) -> int:
    """Copy the store into the other backend; repeating it completes an interrupted one."""
    from factory_lib.ops import backup as core

    with open_house(profile) as house:
        _print(_records(core.copy_to(house, backend)), as_json)
    return 0


def _records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="s"))
    return rows


def _print(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(list(rows)) + "\n")
        return
    for row in rows:
        sys.stdout.write("  ".join(f"{name} {value}" for name, value in row.items() if value not in ("", None)) + "\n")
    if not rows:
        sys.stdout.write("none\n")
