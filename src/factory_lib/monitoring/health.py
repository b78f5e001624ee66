"""Health of an installation: keys, providers, store, machine, jobs and series.

Each check that is not ok names its next step.
"""

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from statistics import median_high

import pandas as pd
from msgspec import structs

from factory_lib import sources
from factory_lib.clock import MADRID, SystemClock, from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import AuthError, FactoryError, NoDataYet, SourceError
from factory_lib.http import Http, Reply
from factory_lib.monitoring import alerts
from factory_lib.pipeline.targets import clients
from factory_lib.results import JobResult, ResultStatus
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, calls, marks, open_state
from factory_lib.store import open_store

LITTLE_DISK_GB, TOO_LITTLE_DISK_GB = 5.0, 1.0
LARGEST_SKEW_S = 60.0  # of this clock against the providers'
RENEW = (
    "Get a new one at https://opendata.aemet.es/centrodedescargas/altaUsuario and put it into .env."
)
ENDED = ["ok", "failed", "killed"]
ALERT_COLUMNS = ["severity", "topic", "entity", "status", "opened_at", "count", "message"]
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DiagnosticCheck:
    """Finding on one thing, with the next step where it is not ok."""

    name: str
    status: ResultStatus
    finding: str
    next_step: str = ""


def worst(checks: Sequence[DiagnosticCheck]) -> ResultStatus:
    """Return the status of the worst check."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"


def check_health(ctx: RunContext, *, keys_only: bool = False, notify: bool = True) -> JobResult:
    """Examine the machine and sum up the shared state; asks AEMET once where its key is set.

    ``notify`` is that of ``examine``; a replay raises no alert.

    Returns
    -------
    JobResult
        With the tables ``checks`` (of ``examine``); ``jobs``: last run, its status,
        ``success_rate`` = ok ÷ (ok + failed + killed) since yesterday, idle ticks;
        ``calls`` of the last 24 h per component and host or operation: number, share that
        succeeded, median and 95th percentile in ms; ``latest``: per series the end of its
        newest slot, until when it is due, and how many hours it is behind; ``alerts``
        that are not resolved.
    """
    now = ctx.clock.now()
    notify = notify and not ctx.replay
    checks = examine(ctx.settings, keys_only=keys_only, notify=notify)
    tables = {
        "checks": pd.DataFrame(checks),
        "jobs": _jobs(ctx, now),
        "calls": _calls(ctx, now),
        "latest": _latest(ctx, now),
        "alerts": pd.DataFrame(alerts.alert_rows(ctx.state), columns=ALERT_COLUMNS),
    }
    return summarise(checks, tables)


def summarise(checks: Sequence[DiagnosticCheck], tables: Mapping[str, pd.DataFrame]) -> JobResult:
    """Compose the result: ``warn`` also where a job's last run failed or a series is behind."""
    jobs = tables["jobs"]
    latest = tables["latest"]
    failing = list(jobs.loc[jobs["status"] != "ok", "job"])
    behind = list(latest.loc[latest["behind_h"] > 0, "series"])
    status = worst(checks)
    if status == "ok" and (failing or behind):
        status = "warn"
    statuses = [check.status for check in checks]
    metrics = {
        "checks_ok": statuses.count("ok"),
        "checks_warn": statuses.count("warn"),
        "checks_fail": statuses.count("fail"),
        "jobs_failing": len(failing),
        "series_behind": len(behind),
        "open_alerts": len(tables["alerts"]),
    }
    unseen = "no job has run" if jobs.empty else "nothing was ingested" if latest.empty else ""
    sentence = _sentence(checks, failing, behind, unseen)
    if metrics["open_alerts"]:
        sentence = f"{sentence} Open alerts: {metrics['open_alerts']}."
    return JobResult(status, sentence, metrics, tables)


def _sentence(
    checks: Sequence[DiagnosticCheck], failing: list[str], behind: list[str], unseen: str
) -> str:
    problems = [f"{check.name}: {check.finding}" for check in checks if check.status != "ok"]
    if not (problems or failing or behind):
        if unseen:
            return f"Keys, store and machine are well; {unseen} yet."
        return "Keys, store and machine, the last run of every job, and every series are well."
    groups = {"Last run failed: ": failing, "Behind: ": behind}
    parts = [f"{head}{', '.join(names)}." for head, names in groups.items() if names]
    machine = "; ".join(problems) or "Keys, store and machine are well"
    return " ".join([*parts, f"{machine}."])


def examine(
    settings: Settings, *, keys_only: bool = False, providers: bool = False, notify: bool = True
) -> list[DiagnosticCheck]:
    """Check everything; ``providers`` also asks each enabled provider whether it answers.

    A key that ends soon, has ended or is refused raises an alert and one that is well
    ends it, unless ``notify`` is False; nothing is written then unless a provider is asked.
    """
    clock = SystemClock(settings.clock_offset_s)
    with open_state(settings, lazy=True) as state:
        checks = list(_keys(settings, state, clock))
        if notify:
            events = [
                alerts.Event(
                    "key",
                    key.name,
                    alerts.SEVERITIES[key.status],
                    f"{key.finding}. {key.next_step}",
                )
                for key in checks
                if key.status != "ok"
            ]
            alerts.reconcile(state, "key", events, clock.now())
        if providers:
            checks += _providers(settings, state, clock)
    if not keys_only:
        checks += [_store(settings), _registry(settings), _time_zone(), _disk(settings)]
    return checks


# -- keys ------------------------------------------------------------------------------


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
    """Check AEMET's key, which ends after a hundred days; only a person can renew it."""
    name = "aemet_api_key"
    now = clock.now()
    expiry = token_expiry(secret.reveal())
    if expiry is None or expiry <= now:
        unreadable = "it is no token with an expiry, which AEMET refuses"
        finding = f"expired on {expiry:%Y-%m-%d}" if expiry else unreadable
        return DiagnosticCheck(name, "fail", finding, RENEW)
    days = (expiry - now) / _DAY
    finding = f"valid until {expiry:%Y-%m-%d}, {days:.0f} days left"
    if days <= settings.alerts.key_warning_days:
        return DiagnosticCheck(name, "warn", finding, RENEW)
    if sources.missing("aemet", settings):
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET is switched off here")
    impatient = _impatient(settings)
    try:
        with clients(impatient, state, clock, ["aemet"]) as opened, suppress(NoDataYet):
            place = opened["aemet"].places()[0]
            opened["aemet"].fetch_window(["temperature_c"], place, now - timedelta(hours=1), now)
    except AuthError as refusal:
        return DiagnosticCheck(name, "fail", f"AEMET refuses it: {refusal.detail}", RENEW)
    except SourceError as error:
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET could not be asked: {error.detail}")
    return DiagnosticCheck(name, "ok", f"{finding}, accepted by AEMET")


def token_expiry(token: str) -> datetime | None:
    """Return the ``exp`` claim of a JSON Web Token (RFC 7519), or None; UTC."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return from_epoch(int(claims["exp"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


# -- providers and clock ---------------------------------------------------------------


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
    skews: list[float] = []
    ask = partial(_provider, settings=_impatient(settings), state=state, clock=clock, skews=skews)
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        checks = list(pool.map(ask, names))
    if {check.status for check in checks} == {"warn"}:
        checks = [replace(check, status="fail") for check in checks]
    if skews and not settings.simulated:
        checks.append(_clock(skews))
    return checks


def _provider(
    name: str, settings: Settings, state: State, clock: SystemClock, skews: list[float]
) -> DiagnosticCheck:
    """Check that a provider answers; add the seconds by which this clock is ahead."""

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
        return DiagnosticCheck(name, "warn", finding, remedy)
    return DiagnosticCheck(name, "ok", "answers")


def _clock(skews: Sequence[float]) -> DiagnosticCheck:
    skew = median_high(skews)
    finding = f"{skew:+.0f} s against the providers'"
    if abs(skew) <= LARGEST_SKEW_S:
        return DiagnosticCheck("clock", "ok", finding)
    remedy = "Let the machine keep network time, for instance with systemd-timesyncd."
    return DiagnosticCheck("clock", "fail", finding, remedy)


def _time_zone() -> DiagnosticCheck:
    now = SystemClock().now()
    zone = f"{now.astimezone():%Z}"
    finding = f"the machine keeps {zone}, and so does cron; market days are Europe/Madrid's"
    if now.astimezone().utcoffset() == now.astimezone(MADRID).utcoffset():
        finding = f"the machine keeps the plant's time ({zone})"
    return DiagnosticCheck("time_zone", "ok", finding)


# -- store, registry and disk ----------------------------------------------------------


def _store(settings: Settings) -> DiagnosticCheck:
    try:
        with closing(open_store(settings, lazy=True)) as store:
            rows = store.inventory()["rows"].sum()
    except FactoryError as error:
        return DiagnosticCheck("store", "fail", error.message, error.next_step)
    finding = f"{settings.store.backend}, {store.origin}, {rows:,} rows"
    return DiagnosticCheck("store", "ok", finding)


def _registry(settings: Settings) -> DiagnosticCheck:
    file = settings.paths.runs / "mlflow.db"
    if not file.is_file():
        return DiagnosticCheck("mlflow", "ok", "no database yet: the first training makes it")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
            (versions,) = database.execute("SELECT count(*) FROM model_versions").fetchone()
    except sqlite3.Error as error:
        finding = f"{file} cannot be read: {error}"
        return DiagnosticCheck("mlflow", "fail", finding, "Restore a backup: `factory restore`.")
    return DiagnosticCheck("mlflow", "ok", f"{runs} runs, {versions} model versions")


def _disk(settings: Settings) -> DiagnosticCheck:
    data = settings.paths.data
    folder = next(each for each in (data, *data.parents) if each.is_dir())
    free_gb = shutil.disk_usage(folder).free / 1e9
    finding = f"{free_gb:,.1f} GB free"
    if free_gb >= LITTLE_DISK_GB:
        return DiagnosticCheck("disk", "ok", finding)
    status: ResultStatus = "warn" if free_gb >= TOO_LITTLE_DISK_GB else "fail"
    remedy = "Lower [retention] in config/factory.toml and run `make maintenance`."
    return DiagnosticCheck("disk", status, finding, remedy)


# -- jobs and series -------------------------------------------------------------------


def _jobs(ctx: RunContext, now: datetime) -> pd.DataFrame:
    rows = pd.DataFrame(calls.ticks_since(ctx.state, now - _DAY), columns=calls.Tick._fields)
    counts = rows.pivot_table(
        index="job", columns="outcome", values="ticks", aggfunc="sum", fill_value=0
    ).reindex(columns=[*ENDED, "not_due", "locked"], fill_value=0)
    counts.insert(0, "success_rate", counts["ok"] / counts[ENDED].sum(axis=1))
    lines = [
        (job, at, end["status"], end["error"] or end.get("summary") or end.get("verdict", ""))
        for job, (at, end) in marks.get_marks(ctx.state, marks.LAST_RUN).items()
        if job in ctx.settings.jobs
    ]
    jobs = pd.DataFrame(lines, columns=["job", "last_run", "status", "summary"])
    return jobs.merge(counts.drop(columns=ENDED), "left", on="job")


def _calls(ctx: RunContext, now: datetime) -> pd.DataFrame:
    rows = pd.DataFrame(calls.calls_since(ctx.state, now - _DAY), columns=calls.Call._fields)
    rows["ok"] = rows["status"].isin(["ok", "200"])
    grouped = rows.groupby(["component", "target"], as_index=False)
    return grouped.agg(
        calls=("duration_ms", "size"),
        ok_share=("ok", "mean"),
        median_ms=("duration_ms", "median"),
        p95_ms=("duration_ms", lambda ms: ms.quantile(0.95)),
    )


def _latest(ctx: RunContext, now: datetime) -> pd.DataFrame:
    lines = []
    for name, (until, _) in marks.get_marks(ctx.state, marks.LATEST_SLOT).items():
        due_until = ctx.catalogue[name].due_until(now)
        behind_h = max(0.0, (due_until - until) / timedelta(hours=1))
        lines.append((name, until, due_until, behind_h))
    return pd.DataFrame(lines, columns=["series", "until", "due_until", "behind_h"])
