"""Recorded answers of real services: each gives the recorded values, or the right error.

Each folder below ``wire/`` of the data folder is one case: ``case.json`` says what a
server answers in turn, what the client is asked and when; ``expected.json`` the values,
or the error, and the most requests that a right client sends. A case is right if every
value is there and none beside them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
from msgspec import structs

from benchmarks._cli import bench
from benchmarks._wire import Wire, serving
from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.clock import parse_instant
from factory_lib.errors import FactoryError
from factory_lib.settings import ROOT, Settings
from factory_lib.state import open_state
from factory_sim import KEYS
from factory_sim.clock import SimulatedClock

NOT_HERE = Wire(404, "text/html", b"<html>not here</html>")
TOLERANCE = 1e-6


class Server:
    """The answers of one case, given in turn; the last of a route is repeated."""

    def __init__(self, folder: Path, case: Mapping[str, Any]) -> None:
        self.folder = folder
        self.routes = case["routes"]
        self.given = Counter[int]()
        self.requests = 0
        self.url = ""

    def respond(self, target: str, headers: Mapping[str, str]) -> Wire:
        """Answer one request by the first route that fits its path and query."""
        self.requests += 1
        url = urlsplit(target)
        path = "/" + url.path.lstrip("/").partition("/")[2]
        query = dict(parse_qsl(url.query))
        for number, route in enumerate(self.routes):
            patterns = route.get("query", {}).items()
            if fnmatch.fnmatchcase(path, route["path"]) and all(
                fnmatch.fnmatchcase(query.get(name, ""), pattern) for name, pattern in patterns
            ):
                answers = route["answers"]
                answer = answers[min(self.given[number], len(answers) - 1)]
                self.given[number] += 1
                return self._wire(answer)
        return NOT_HERE

    def _wire(self, answer: Mapping[str, Any]) -> Wire:
        body = answer.get("text", "").encode()
        if "file" in answer:
            body = (self.folder / answer["file"]).read_bytes()
        body = body.replace(b"@HOST@", self.url.encode())
        kind = answer.get("type", "application/json")
        return Wire(answer.get("status", 200), kind, body, answer.get("headers", {}))


@contextmanager
def settings_of(case: Mapping[str, Any], url: str) -> Iterator[Settings]:
    """Yield the settings that a case needs, in a home of their own, pointed at ``url``."""
    with tempfile.TemporaryDirectory() as home:
        text = (ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
        for old, new in case.get("toml", []):
            text = text.replace(old, new)
        file = Path(home) / "factory.toml"
        file.write_text(text, encoding="utf-8")
        env = {
            "FACTORY_HOME": home,
            "FACTORY_CONFIG": str(file),
            "FACTORY_SIMULATOR_URL": url,
            **KEYS,
            **case.get("env", {}),
        }
        loaded = factory_settings.load("demo", env=env)
        name = case["source"]
        patient = structs.replace(
            loaded.sources[name], spacing_s=0.0, requests_per_minute=10**6, enabled=True
        )
        yield structs.replace(loaded, sources={**loaded.sources, name: patient})


def ask(case: Mapping[str, Any], settings: Settings) -> pd.DataFrame:
    """Return the rows that the client makes of the answers, with ``start`` and ``value``."""
    clock = SimulatedClock(parse_instant(case["now"]))
    with open_state(settings) as state:
        client = sources.open_source(case["source"], settings, state, clock)
        try:
            place = case.get("place") or client.places()[0]
            if case.get("forecast"):
                rows = client.forecast(case["series"], place)
                return rows.rename(columns={"target_start": "start", "p50": "value"})
            start, end = (parse_instant(case[name]) for name in ("start", "end"))
            return client.fetch(case["series"], place, start, end)
        finally:
            client.close()


def problem(expected: Mapping[str, Any], rows: pd.DataFrame | FactoryError, requests: int) -> str:
    """Return what is wrong with a result, or an empty string."""
    if requests > expected.get("requests", requests):
        return f"{requests} requests, not {expected['requests']}"
    if isinstance(rows, FactoryError):
        names = {cls.__name__ for cls in type(rows).__mro__}
        return "" if names.intersection(expected.get("error", [])) else repr(rows)
    if "values" not in expected:
        return f"{len(rows)} rows instead of {expected['error']}"
    wanted = {
        (name, pd.Timestamp(at)): value
        for name, values in expected["values"].items()
        for at, value in values.items()
    }
    got = {(row.series, row.start): row.value for row in rows.itertuples()}
    if missing := wanted.keys() - got.keys():
        return f"{len(missing)} of {len(wanted)} values missing, first {min(missing)!r}"
    if more := got.keys() - wanted.keys():
        return f"{len(more)} values too many, first {min(more)!r}"
    wrong = [key for key, value in wanted.items() if abs(got[key] - value) > TOLERANCE]
    return f"{len(wrong)} values wrong, first {wrong[0]}: {got[wrong[0]]!r}" if wrong else ""


def judge(folder: Path) -> tuple[str, str]:
    """Return the source of a case, and what is wrong with it."""
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    server = Server(folder, case)
    rows: pd.DataFrame | FactoryError
    with serving(server.respond) as url, settings_of(case, url) as settings:
        server.url = f"{url}/{case['source']}"
        try:
            rows = ask(case, settings)
        except FactoryError as error:
            rows = error
    if isinstance(rows, FactoryError) and not expected.get("values", True):
        rows = pd.DataFrame()  # nothing is expected, and nothing came
    return case["source"], problem(expected, rows, server.requests)


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Judge every case."""
    folders = sorted(path.parent for path in (arguments.data / "wire").glob("*/case.json"))
    if not folders:
        raise SystemExit(f"No wire/*/case.json in {arguments.data}: name the folder with --data.")
    results = []
    by_source: dict[str, dict[str, int]] = {}
    for folder in folders:
        source, text = judge(folder)
        counts = by_source.setdefault(source, {"cases": 0, "right": 0})
        counts["cases"] += 1
        counts["right"] += not text
        results.append({"case": folder.name, "source": source, "problem": text})
        if text:
            print(f"{folder.name}: {text}", file=sys.stderr)
    right = sum(counts["right"] for counts in by_source.values())
    return {"cases": len(folders), "right": right, "by_source": by_source}, results


if __name__ == "__main__":
    bench(__doc__, run)
