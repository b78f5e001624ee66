"""Mutated answers of every provider: each ends in rows or in a typed error, and no row is wrong.

The controls are answers of the simulated world, recorded on their way to the clients. A
payload is one of them with one thing wrong, sent over HTTP. A row is bad if the
unmutated answer has no such row (slot, series, unit by range, provenance), or another
value there while no field of that value was touched.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec import structs

from benchmarks._cli import bench
from benchmarks._mutation import mutate, touched
from benchmarks._wire import Wire, serving
from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.catalogue import Kind, Measurement, default_catalogue
from factory_lib.clock import day_bounds, from_epoch
from factory_lib.errors import FactoryError
from factory_lib.importers.check import check
from factory_lib.importers.files import Member
from factory_lib.importers.formats import FORMATS
from factory_lib.settings import Settings
from factory_lib.settings.records import QualitySettings
from factory_lib.state import State, limiter
from factory_sim import KEYS
from factory_sim.clock import SimulatedClock
from factory_sim.engine import Simulator, WorldClock
from factory_sim.world import World

CATALOGUE = default_catalogue()

PAYLOADS, SEED = 20_000, 20260401
EXPORT = "siar website"
DAY_AHEAD = ("fr_load_forecast_mw", "fr_solar_forecast_mw")
Truth = dict[tuple[Any, ...], float]


@dataclass
class Case:
    """One question to one client, the answers it got, and the rows they hold."""

    source: str
    what: str  # prices, weather, history, climate, forecast, day ahead, runs
    start: datetime
    end: datetime
    now: datetime
    keys: Mapping[str, str] = field(default_factory=lambda: KEYS)
    answers: dict[str, Wire] = field(default_factory=dict)
    truth: Truth = field(default_factory=dict)


def cases() -> list[Case]:
    """Return questions around clock changes, the change to quarters and negative prices."""
    found = []
    for day in (
        date(2025, 3, 30),
        date(2025, 9, 30),
        date(2025, 10, 26),
        date(2026, 3, 29),
        date(2026, 4, 12),
    ):
        start, end = day_bounds(day)
        now = (end + timedelta(hours=16)).replace(minute=50)
        found += [Case(name, "prices", start, end, now) for name in ("ree", "omie", "esios")]
        found.append(Case("energy_charts", "day ahead", start, end, now))
        found.append(Case("open_meteo_runs", "runs", start, end, now))
        found.append(Case("open_meteo_runs", "runs", now, now + timedelta(days=7), now))
        found.append(Case("esios", "prices", start, end, now, {**KEYS, "ESIOS_TOKEN": ""}))
        last = now.replace(minute=0)
        found.append(Case("aemet", "weather", last - timedelta(hours=23), last, now))
        found.append(Case("openweathermap", "weather", last, last + timedelta(hours=1), now))
        found.append(
            Case(
                "openweathermap",
                "history",
                last - timedelta(hours=5),
                last - timedelta(hours=4),
                now,
            )
        )
        found.append(
            Case("open_meteo", "weather", start - timedelta(days=8), end - timedelta(days=8), now)
        )
        found.append(
            Case(
                "open_meteo_recent",
                "weather",
                start - timedelta(days=1),
                end - timedelta(days=1),
                now,
            )
        )
        month = start.replace(hour=0) - timedelta(days=20)
        found.append(Case("aemet", "climate", month, month + timedelta(days=14), now))
        found.append(Case("siar", "climate", month, month + timedelta(days=14), now))
        found.append(Case(EXPORT, "climate", month, month + timedelta(days=28), now))
        found += [
            Case(name, "forecast", now, now, now)
            for name in ("aemet", "openweathermap", "open_meteo_recent")
        ]
    return found


class Bench:
    """The server in the providers' place.

    It passes questions on to the simulated world, or answers from a table.
    """

    def __init__(self, folder: str) -> None:
        self.simulator = Simulator(World(SEED), WorldClock())
        self.state = State(Path(folder) / "state.db", Path(folder) / "hosts.db")
        self.folder = folder
        self.recording: dict[str, Wire] | None = None
        self.table: Mapping[str, Wire] = {}
        self.url = ""

    def respond(self, target: str, headers: Mapping[str, str]) -> Wire:
        """Answer one request."""
        if self.recording is None:
            return self.table.get(target, Wire(404, "text/html", b"<html>not here</html>"))
        host = self.url.removeprefix("http://")
        answer = self.simulator.serve(
            host, target, {name.lower(): v for name, v in headers.items()}
        ).answer
        self.recording[target] = Wire(answer.status, answer.content_type, answer.body)
        return self.recording[target]

    def record(self, case: Case) -> bool:
        """Ask for real, keep the answers, and say whether they gave rows."""
        self.simulator.clock.set(case.now)
        if case.source == EXPORT:
            window = f"FechaInicial={case.start.date()}&FechaFinal={case.end.date()}"
            query = f"/siar/siarapi/websiar/export.csv?Id=J05&{window}"
            self.recording = {}
            self.respond(query, {})
        else:
            self.recording = case.answers
        case.answers = self.recording
        case.truth = rows_of(self.ask(case))
        self.recording = None
        return bool(case.truth)

    def ask(self, case: Case, answers: Mapping[str, Wire] | None = None) -> pd.DataFrame:
        """Let the client ask; it gets the recorded answers, or those given."""
        self.table = case.answers if answers is None else answers
        if case.source == EXPORT:
            (wire,) = self.table.values()
            fmt = FORMATS["siar_csv"]
            reading = fmt.read(Member(EXPORT, EXPORT, wire.body))
            return check(reading, fmt, case.now, QualitySettings(), CATALOGUE).rows
        settings = self.settings(case.keys["ESIOS_TOKEN"], case.what == "history")
        limiter.forget_from(self.state.hosts, from_epoch(0))
        client = sources.open_source(case.source, settings, self.state, SimulatedClock(case.now))
        try:
            if case.what == "forecast":
                names = sources.SOURCES[case.source].forecasts
                return client.forecast(names, client.places()[0])
            if case.what == "day ahead":  # what is neither a mean of quarters nor a sum
                return client.fetch(DAY_AHEAD, "FR", case.start, case.end)
            if case.what == "runs":
                return client.fetch(client.serves, "ES", case.start, case.end)
            return client.fetch(
                _series(client, case.what), client.places()[0], case.start, case.end
            )
        finally:
            client.close()

    @cache  # noqa: B019 - one bench a run
    def settings(self, esios_token: str, subscribed: bool) -> Settings:
        """Return settings that neither wait, nor retry, nor give up on a host."""
        keys = {**KEYS, "ESIOS_TOKEN": esios_token}
        env = {"FACTORY_SIMULATOR_URL": self.url, "FACTORY_HOME": self.folder, **keys}
        loaded = factory_settings.load("demo", env=env)
        impatient = {
            name: structs.replace(
                limits,
                retries=0,
                spacing_s=0.0,
                requests_per_minute=10**8,
                requests_per_day=0,
                subscribed=subscribed,
                # one point each, whose value is the mean
                points={
                    name: dict([*points.items()][:1]) for name, points in limits.points.items()
                },
            )
            for name, limits in loaded.sources.items()
        }
        return structs.replace(
            loaded, sources=impatient, breaker=structs.replace(loaded.breaker, failures=10**9)
        )


def _series(client: Any, what: str) -> list[str]:
    table = {"prices": Measurement.PRICES, "climate": Measurement.CLIMATE}.get(
        what, Measurement.WEATHER
    )
    return [name for name in client.serves if CATALOGUE[name].measurement is table]


def rows_of(frame: pd.DataFrame) -> Truth:
    """Return every row by all that identifies it."""
    if "p50" in frame:
        key = frame[["series", "place", "model", "resolution_s", "target_start", "tier"]]
        return dict(zip(key.itertuples(index=False, name=None), frame["p50"], strict=True))
    key = frame[["series", "place", "source", "kind", "resolution_s", "start"]]
    # a forecast of an archive has an issue for each lead
    is_forecast = frame["kind"] == Kind.FORECAST
    key = key.assign(issue=frame["provider_updated_at"].astype("str").where(is_forecast, ""))
    return dict(zip(key.itertuples(index=False, name=None), frame["value"], strict=True))


def bad_rows(case: Case, rows: Truth, target: str, mutated: Wire) -> list[str]:
    """Return the rows that the mutation does not explain."""
    original = case.answers[target].body
    changes: Iterable[tuple[float, float]] | None = None
    found = []
    for key, value in rows.items():
        entry = CATALOGUE[key[0]]
        if key not in case.truth or not entry.low <= value <= entry.high:
            found.append(f"{key} = {value}: no such row")
        elif value != case.truth[key]:
            changes = touched(original, mutated.body) or [] if changes is None else changes
            if (case.truth[key], value) not in changes:
                found.append(f"{key} = {value}: was {case.truth[key]}")
    return found


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Mutate, ask, compare."""
    payloads = arguments.payloads or (PAYLOADS // 20 if arguments.quick else PAYLOADS)
    chance = random.Random(SEED)
    counts: Counter[str] = Counter()
    by_source: Counter[tuple[str, str, str]] = Counter()
    remarks: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Bench(folder)
        with serving(fuzz.respond) as url:
            fuzz.url = url
            every = cases()
            good = [fuzz.record(case) for case in every]
            replayed = [rows_of(fuzz.ask(case)) == case.truth for case in every]
            for number in range(payloads):
                case = every[number % len(every)]
                outcome, remark = _one(fuzz, case, chance)
                counts[outcome] += 1
                by_source[case.source, case.what, outcome] += 1
                if remark:
                    remarks.append({"source": case.source, "what": case.what, "remark": remark})
                    print(
                        f"{case.source} {case.what} {case.start:%Y-%m-%d}: {remark}",
                        file=sys.stderr,
                    )
                if number % 2000 == 1999:
                    print(f"{number + 1} of {payloads}: {dict(counts)}", file=sys.stderr)
    figures = {
        "payloads": payloads,
        "correct": counts["correct"],
        "typed_errors": counts["typed_error"],
        "other": counts["other"],
        "bad_rows": counts["bad_rows"],
        "controls_ok": all(good) and all(replayed),
        "controls": len(every),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    table = [
        {"source": s, "what": w, "outcome": o, "payloads": n}
        for (s, w, o), n in sorted(by_source.items())
    ]
    return figures, {"outcomes": table, "remarks": remarks}


def _one(fuzz: Bench, case: Case, chance: random.Random) -> tuple[str, str]:
    target = chance.choice(list(case.answers))
    mutated = mutate(case.answers[target], chance)
    try:
        frame = fuzz.ask(case, {**case.answers, target: mutated})
    except FactoryError:
        return "typed_error", ""
    except Exception as error:  # noqa: BLE001 - what must never happen is what is counted here
        return "other", f"{type(error).__name__}: {error}"
    rows = rows_of(frame)
    if len(rows) < len(frame):
        return "bad_rows", f"{len(frame) - len(rows)} rows are there twice"
    if wrong := bad_rows(case, rows, target, mutated):
        return "bad_rows", wrong[0]
    return "correct", ""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--payloads", type=int, default=0, help=f"how many (default {PAYLOADS})")


if __name__ == "__main__":
    bench(__doc__, run, arguments=_arguments)
