"""Diagnostics: keys, providers, store, registry, clock and disk, each with its next step."""

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain
from statistics import median_high

import pandas as pd
from msgspec import structs

from factory_lib import sources
from factory_lib.clock import MADRID, SystemClock, from_epoch
from factory_lib.errors import AuthError, FactoryError, NoDataYet, SourceError
from factory_lib.http import Http, Reply
from factory_lib.monitoring import alerts
from factory_lib.pipeline.targets import clients
from factory_lib.results import ResultStatus
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, open_state
from factory_lib.store import open_store

LITTLE_DISK_GB, TOO_LITTLE_DISK_GB = 5.0, 1.0
LARGEST_SKEW_S = 60.0  # of this clock against the providers'
RENEW = (
    "Get a new one at https://opendata.aemet.es/centrodedescargas/altaUsuario and put it into .env."
)


@dataclass(frozen=True)
class DiagnosticCheck:
    """Finding on one thing, with the next step where it is not ok."""

    name: str
    status: ResultStatus
    finding: str
    next_step: str = ""


@dataclass(frozen=True)
class DiagnosticReport:
    """All checks."""

    checks: tuple[DiagnosticCheck, ...]

    @property
    def status(self) -> ResultStatus:
        """Status of the worst check."""
        statuses = {check.status for check in self.checks}
        return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"

    def table(self) -> pd.DataFrame:
        """Return one row per check: name, status, finding, next_step."""
        return pd.DataFrame(self.checks)


def examine(
    settings: Settings, *, keys_only: bool = False, providers: bool = False, notify: bool = True
) -> DiagnosticReport:
    """Check everything; ``providers`` also asks each enabled provider whether it answers.

    A key that ends soon, has ended or is refused raises an alert and one that is well
    ends it, unless ``notify`` is False.
    """
    clock = SystemClock(settings.clock_offset_s)
    with open_state(settings) as state:
        keys = list(_keys(settings, state, clock))
        if notify:
            events = [_event(key) for key in keys if key.status != "ok"]
            alerts.reconcile(state, alerts.Topic.KEY, events, clock.now())
        if keys_only:
            return DiagnosticReport(tuple(keys))
        answers = _providers(settings, state, clock) if providers else []
    machine = [_store(settings), _registry(settings), _time_zone(), _disk(settings)]
    return DiagnosticReport((*keys, *answers, *machine))


def _event(key: DiagnosticCheck) -> alerts.Event:
    severity = alerts.Severity.WARNING if key.status == "warn" else alerts.Severity.CRITICAL
    return alerts.Event(alerts.Topic.KEY, key.name, severity, f"{key.finding}. {key.next_step}")


# -- keys -----------------------------------------------------------------------------------------


def _keys(settings: Settings, state: State, clock: SystemClock) -> Iterator[DiagnosticCheck]:
    for name, spec in sources.SOURCES.items():
        for key in dict.fromkeys((*spec.keys, *(key for _, key in spec.keyed))):
            secret: Secret = getattr(settings.secrets, key)
            if not secret:
                effect = f"{name} does without it" if spec.keyed else f"{name} is skipped"
                yield DiagnosticCheck(key, "ok", f"not set: {effect}")
            elif key == "aemet_api_key":
                yield _aemet_key(settings, state, clock, secret)
            else:
                yield DiagnosticCheck(key, "ok", f"set, for {name}")


def _aemet_key(
    settings: Settings, state: State, clock: SystemClock, secret: Secret
) -> DiagnosticCheck:
    """Check AEMET's key, which ends after about a hundred days; only a person can renew it."""
    name = "aemet_api_key"
    expiry = token_expiry(secret.reveal())
    if expiry is None:
        return DiagnosticCheck(
            name, "fail", "it is no token with an expiry, which AEMET refuses", RENEW
        )
    days = (expiry - clock.now()) / timedelta(days=1)
    if days <= 0:
        return DiagnosticCheck(name, "fail", f"expired on {expiry:%Y-%m-%d}", RENEW)
    finding = f"valid until {expiry:%Y-%m-%d}, {days:.0f} days left"
    if days <= settings.alerts.key_warning_days:
        return DiagnosticCheck(name, "warn", finding, RENEW)
    if sources.missing("aemet", settings):
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET is switched off here")
    try:
        _ask_aemet(settings, state, clock)
    except AuthError as refusal:
        return DiagnosticCheck(name, "fail", f"AEMET refuses it: {refusal.detail}", RENEW)
    except SourceError as error:
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET could not be asked: {error.detail}")
    return DiagnosticCheck(name, "ok", f"{finding}, accepted by AEMET")


def _ask_aemet(settings: Settings, state: State, clock: SystemClock) -> None:
    now = clock.now()
    with clients(_impatient(settings), state, clock, ["aemet"]) as opened, suppress(NoDataYet):
        client = opened["aemet"]
        client.fetch_window(["temperature_c"], client.places()[0], now - timedelta(hours=1), now)


def token_expiry(token: str) -> datetime | None:
    """Return the ``exp`` claim of a JSON Web Token (RFC 7519), UTC; None where there is none."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return from_epoch(int(claims["exp"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


# -- providers and clock --------------------------------------------------------------------------


def _impatient(settings: Settings) -> Settings:
    """Return settings that wait a few seconds for a provider, and try once."""
    impatient = {
        name: structs.replace(spec, retries=0, connect_timeout_s=3.0, read_timeout_s=5.0)
        for name, spec in settings.sources.items()
    }
    return structs.replace(settings, sources=impatient)


def _providers(settings: Settings, state: State, clock: SystemClock) -> list[DiagnosticCheck]:
    """Ask every enabled host for its first page, all at once; any answer will do."""
    names = [name for name in settings.sources if not sources.missing(name, settings)]
    ask = partial(_provider, settings=_impatient(settings), state=state, clock=clock)
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        answers = list(pool.map(ask, names))
    checks = [check for check, _ in answers]
    if {check.status for check in checks} == {"warn"}:
        checks = [replace(check, status="fail") for check in checks]
    skews = list(chain.from_iterable(skews for _, skews in answers))
    if skews and not settings.simulated:
        checks.append(_clock(skews))
    return checks


def _provider(
    name: str, settings: Settings, state: State, clock: SystemClock
) -> tuple[DiagnosticCheck, list[float]]:
    """Return whether a provider answers, and the seconds by which this clock is ahead of it."""
    skews: list[float] = []

    def note_date(reply: Reply) -> NoDataYet:
        if "date" in reply.headers:
            date = parsedate_to_datetime(reply.headers["date"])
            skews.append((clock.now() - date).total_seconds())
        return NoDataYet(name, "it answers")

    try:
        with closing(Http(name, settings, state, clock)) as http, suppress(NoDataYet):
            http.get("/", check=note_date)
    except SourceError as error:
        finding = f"{error.detail} ({settings.sources[name].base_url})"
        remedy = "Check the network and any proxy; until then other sources give its values."
        return DiagnosticCheck(name, "warn", finding, remedy), []
    return DiagnosticCheck(name, "ok", "answers"), skews


def _clock(skews: Sequence[float]) -> DiagnosticCheck:
    skew = median_high(skews)
    finding = f"{skew:+.0f} s against the providers'"
    if abs(skew) <= LARGEST_SKEW_S:
        return DiagnosticCheck("clock", "ok", finding)
    remedy = "Let the machine keep network time, for instance with systemd-timesyncd."
    return DiagnosticCheck("clock", "fail", finding, remedy)


def _time_zone() -> DiagnosticCheck:
    now = SystemClock().now()
    machine = now.astimezone()
    if machine.utcoffset() == now.astimezone(MADRID).utcoffset():
        return DiagnosticCheck(
            "time_zone", "ok", f"the machine keeps the plant's time ({machine:%Z})"
        )
    finding = f"the machine keeps {machine:%Z}, and so does cron"
    return DiagnosticCheck("time_zone", "ok", f"{finding}; market days are Europe/Madrid's")


# -- store, registry and disk ---------------------------------------------------------------------


def _store(settings: Settings) -> DiagnosticCheck:
    try:
        with closing(open_store(settings)) as store:
            rows = store.inventory()["rows"].sum()
    except FactoryError as error:
        return DiagnosticCheck("store", "fail", error.message, error.next_step)
    return DiagnosticCheck(
        "store", "ok", f"{settings.store.backend}, {store.origin}, {rows:,} rows"
    )


def _registry(settings: Settings) -> DiagnosticCheck:
    file = settings.paths.runs / "mlflow.db"
    if not file.is_file():
        return DiagnosticCheck("mlflow", "ok", "no database yet: the first training makes it")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
            (versions,) = database.execute("SELECT count(*) FROM model_versions").fetchone()
    except sqlite3.Error as error:
        return DiagnosticCheck(
            "mlflow",
            "fail",
            f"{file} cannot be read: {error}",
            "Restore a backup: `factory restore`.",
        )
    return DiagnosticCheck("mlflow", "ok", f"{runs} runs, {versions} model versions")


def _disk(settings: Settings) -> DiagnosticCheck:
    free_gb = shutil.disk_usage(settings.paths.data).free / 1e9
    finding = f"{free_gb:,.1f} GB free"
    if free_gb >= LITTLE_DISK_GB:
        return DiagnosticCheck("disk", "ok", finding)
    status: ResultStatus = "warn" if free_gb >= TOO_LITTLE_DISK_GB else "fail"
    remedy = "Lower [retention] in config/factory.toml and run `make maintenance`."
    return DiagnosticCheck("disk", status, finding, remedy)
