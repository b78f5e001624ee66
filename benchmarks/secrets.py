"""Marked keys, hostile answers that quote them, and a search of everything that was written.

Every provider answers 401, 403, 429, 500 and garbage in turn, each quoting the whole
request, keys included. The clients run with logging at its most talkative, their errors
are written with full tracebacks; then jobs run through the command line: ingestion
among the hostile, and training and prediction with MLflow on simulated data, every key
in their environment. All files under the home, databases, runs and MLflow's included
and archives opened, are searched for the mark, plain and as addresses, JSON and pages
write it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import ZipFile, is_zipfile

from msgspec import structs

from benchmarks._cli import bench
from benchmarks._wire import Wire, serving
from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.context import open_context
from factory_lib.errors import FactoryError
from factory_lib.pipeline.backfill import backfill
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secrets
from factory_lib.state import limiter, open_state
from factory_sim.clock import SimulatedClock
from factory_sim.launch import launched

MARK = 'pl4nt3d/&="\\m4rk'  # with characters that addresses, JSON and pages write differently
ANSWERS = (401, 403, 429, 500, 200)
INGESTION = ("ree_price_ingestion", "hybrid_weather_ingestion")
LEARNING = ("ml_training", "ml_predictions")
LEARNT_DAYS = 210  # of history that the models are given
NOW = datetime(2026, 4, 15, 10, 40, tzinfo=UTC)


class Hostile:
    """A server that answers each request with the next of its statuses and quotes the request."""

    def __init__(self) -> None:
        self.statuses = cycle(ANSWERS)
        self.answered: list[tuple[str, int]] = []

    def respond(self, target: str, headers: Mapping[str, str]) -> Wire:
        """Answer one request."""
        status = next(self.statuses)
        self.answered.append((target.split("/")[1], status))
        quoted = {
            "error": True,
            "cod": status,
            "message": f"No: {target}",
            "reason": target,
            "headers": headers,
        }
        body = json.dumps(
            {**quoted, "descripcion": target, "estado": status, "MensajeRespuesta": target}
        )
        garbage = f"garbage {target} {headers}"
        return Wire(
            status,
            "application/json",
            (body if status != 200 else garbage).encode(),
            {"Retry-After": "1"},
        )


def keys() -> dict[str, str]:
    """Return every secret the library knows, each marked and distinct."""
    return {
        spec.name.upper(): f"{MARK}-{number:02d}" for number, spec in enumerate(fields(Secrets))
    }


def ask_everyone(settings: Settings, log: Path) -> None:
    """Let every client ask for everything it has, once for each answer, and record what it says."""
    state = open_state(settings)
    with log.open("w", encoding="utf-8") as out:
        print(settings, settings.secrets, file=out)
        for name in sources.SOURCES:
            if sources.missing(name, settings):
                continue
            client = sources.open_source(name, settings, state, SimulatedClock(NOW))
            for number, _ in enumerate(ANSWERS):
                limiter.forget_from(state.hosts, NOW - timedelta(days=1))
                try:
                    series = [client.serves[number % len(client.serves)]]
                    client.fetch(series, client.places()[0], NOW - timedelta(hours=4), NOW)
                except FactoryError:
                    traceback.print_exc(file=out)
                print(vars(client), client.rejected, file=out)
            client.close()
    state.close()


def run_jobs(env: Mapping[str, str], folder: Path, jobs: Sequence[str]) -> list[str]:
    """Run jobs through the command line and return those that ended well."""
    well = []
    for job in jobs:
        command = [
            sys.executable,
            "-m",
            "factory_lib.cli",
            "run",
            job,
            "--profile",
            "demo",
            "--force",
        ]
        with (folder / f"{job}.out").open("wb") as out:
            ended = subprocess.run(
                command,
                env={**os.environ, **env},
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        print(f"{job}: exit code {ended.returncode}", file=sys.stderr)
        well += [job] if ended.returncode == 0 else []
    return well


def learn(env: Mapping[str, str], folder: Path) -> list[str]:
    """Fill the store from a friendly simulator, then train and predict.

    Return the jobs that ended well.
    """
    offset = {"FACTORY_CLOCK_OFFSET_S": str((NOW - datetime.now(UTC)).total_seconds())}
    with launched(now=NOW) as remote:  # in a home of its own, where no circuit is open
        friendly = {
            **env,
            **offset,
            "FACTORY_SIMULATOR_URL": remote.url,
            "FACTORY_HOME": str(folder / "learning"),
        }
        with open_context(settings=factory_settings.load("demo", env=friendly)) as ctx:
            backfill(ctx, NOW - timedelta(days=LEARNT_DAYS), automatic=False)
        return run_jobs(friendly, folder, LEARNING)


def forms(key: str) -> set[str]:
    """Return a key as it is, and as addresses, JSON and pages write it, also nested."""
    in_json, on_page = json.dumps(key)[1:-1], escape(key)
    plain = {key, in_json, on_page, escape(key, quote=False), quote(key), quote(key, safe="")}
    return plain | {
        escape(in_json),
        escape(in_json, quote=False),
        *(json.dumps(form)[1:-1] for form in plain),
    }


def search(folder: Path, planted: Mapping[str, str]) -> tuple[int, list[str]]:
    """Return how many files there are, and those in which a key stands, plain or encoded."""
    needles = {form.encode() for key in (MARK, *planted.values()) for form in forms(key)}
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files), [
        str(file) for file in files if any(n in text for text in contents(file) for n in needles)
    ]


def contents(file: Path) -> Iterator[bytes]:
    """Yield a file as it is, and what it holds if it is an archive, as models are."""
    yield file.read_bytes()
    if is_zipfile(file):
        with ZipFile(file) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Plant, ask, search."""
    hostile, planted = Hostile(), keys()
    with tempfile.TemporaryDirectory() as folder, serving(hostile.respond) as url:
        home = Path(folder)
        env = {**planted, "FACTORY_SIMULATOR_URL": url, "FACTORY_HOME": folder}
        logging.basicConfig(level=logging.DEBUG, filename=home / "debug.log", force=True)
        loaded = factory_settings.load("demo", env=env)
        once = {name: structs.replace(limits, retries=0) for name, limits in loaded.sources.items()}
        ask_everyone(structs.replace(loaded, sources=once), home / "clients.log")
        learnt: list[str] = []
        if not arguments.quick:
            run_jobs(env, home, INGESTION)  # that they fail is expected
            learnt = learn(env, home)
        logging.shutdown()
        files, found = search(home, planted)
        mlflow = [
            file
            for file in home.rglob("*")
            if file.name == "mlflow.db" or "mlartifacts" in file.parts
        ]
    return {
        "planted": len(planted),
        "responses": len(hostile.answered),
        "providers": len({source for source, _ in hostile.answered}),
        "jobs_with_models": len(learnt),
        "mlflow_files": len(mlflow),
        "files_scanned": files,
        "found": len(found),
    }, {"found": found, "answered": hostile.answered}


if __name__ == "__main__":
    bench(__doc__, run)
