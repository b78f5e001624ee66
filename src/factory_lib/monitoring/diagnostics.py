"""Diagnostics: keys, providers, channels, store, registry, schedule, backups and disk.

Each check that is not ok names its next step.
"""

import base64
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median_high

import requests
from msgspec import structs

from factory_lib import failures, sources
from factory_lib.clock import DAY, SystemClock, from_epoch, local_time
from factory_lib.errors import (
    AuthError,
    FactoryError,
    ModelMissing,
    NoDataYet,
    RegistryUnavailable,
    SourceError,
)
from factory_lib.files import size_mb
from factory_lib.http import Http, Reply
from factory_lib.models import tracking
from factory_lib.monitoring import alerts, channels, growth
from factory_lib.pipeline.targets import clients
from factory_lib.results import ResultStatus
from factory_lib.runs import schedule
from factory_lib.runs.status import is_scheduled
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, damaged_hosts, marks, open_hosts, open_state
from factory_lib.store import open_store

LITTLE_DISK_GB, TOO_LITTLE_DISK_GB = 5.0, 1.0
LARGEST_SKEW_S = 60.0  # of this clock against the providers'
OLDEST_BACKUP = timedelta(days=8)  # weekly_cleanup takes one a week
OLDEST_CHAMPION = timedelta(days=14)
RENEW = (
    "Get a new one at https://opendata.aemet.es/centrodedescargas/altaUsuario and put it into .env."
)
RESTORE = "Restore a backup: `factory restore`."
RETRAIN = f"{RESTORE} Or train anew: `make train ARGS=--force`."
TAKE_BACKUP = "Take one: `factory backup`."
CHECK_DISK = "Check the disk."
UNUSABLE = (sqlite3.Error, FactoryError, OSError)


@dataclass(frozen=True)
class DiagnosticCheck:
    """Finding on one thing, with the next step where it is not ok."""

    name: str
    status: ResultStatus
    finding: str
    next_step: str = ""


def _graded(
    name: str, is_good: bool, finding: str, next_step: str, grade: ResultStatus = "warn"
) -> DiagnosticCheck:
    """Return a check that is ok, or has a worse status and what to do."""
    if is_good:
        return DiagnosticCheck(name, "ok", finding)
    return DiagnosticCheck(name, grade, finding, next_step)


def worst(checks: Sequence[DiagnosticCheck]) -> ResultStatus:
    """Return the status of the worst check."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"


def examine(
    settings: Settings, *, keys_only: bool = False, providers: bool = False, notify: bool = True
) -> list[DiagnosticCheck]:
    """Check everything; ``providers`` also asks each enabled provider whether it answers.

    A key that ends soon, has ended or is refused raises an alert and one that is well
    ends it, unless ``notify`` is False; nothing is written then unless a provider is asked.
    """
    clock = SystemClock(settings.clock_offset_s)
    try:
        with open_state(settings, lazy=True) as state:
            checks = _of_state(settings, state, clock, keys_only=keys_only, notify=notify)
    except UNUSABLE as error:
        checks = [refused("state", settings.paths.state, error)]
    if providers:
        checks += _asked(settings, clock)
    if not keys_only:
        store = _store(settings, may_write=notify or providers)
        checks += [*_hosts(settings), store, *machine_checks(settings)]
    return checks


def refused(name: str, file: Path, error: Exception) -> DiagnosticCheck:
    """Return the finding of a file that cannot be used; a damaged one wants a backup."""
    if isinstance(error, FactoryError):  # which names its file or server
        return DiagnosticCheck(name, "fail", error.message, error.next_step)
    explained = failures.explain(error)
    is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )
    step = explained.next_step if explained and not is_damaged else RESTORE
    return DiagnosticCheck(name, "fail", f"{file} cannot be used: {error}", step)


def tell(
    state: State, topic: alerts.Topic, checks: Sequence[DiagnosticCheck], now: datetime
) -> None:
    """Reconcile the alerts of a topic with all of its checks."""
    events = [
        alerts.Event(
            topic,
            check.name,
            alerts.SEVERITIES[check.status],
            f"{check.finding.rstrip('.')}. {check.next_step}",
        )
        for check in checks
        if check.status != "ok"
    ]
    alerts.reconcile(state, topic, events, now)


def _of_state(
    settings: Settings, state: State, clock: SystemClock, *, keys_only: bool, notify: bool
) -> list[DiagnosticCheck]:
    """Check what the shared state is needed for."""
    checks = list(_keys(settings, state, clock))
    now = clock.now()
    if notify:
        tell(state, "key", checks, now)
    if keys_only:
        return checks
    return [
        *checks,
        _channels(settings, state),
        _cron(settings, state, now),
        _inbox(settings, state, now),
        _backups(settings, now),
        _champions(settings, state, now),
        _growth(settings, state),
    ]


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
    days = (expiry - now) / DAY
    finding = f"valid until {expiry:%Y-%m-%d}; days left: {days:.0f}"
    if days <= settings.alerts.key_warning_days:
        return DiagnosticCheck(name, "warn", finding, RENEW)
    if sources.missing("aemet", settings):
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET is switched off here")
    impatient = _impatient(settings)
    try:
        with clients(impatient, state, clock, ["aemet"]) as opened, suppress(NoDataYet):
            opened["aemet"].check_key()
    except AuthError as refusal:
        return DiagnosticCheck(name, "fail", f"AEMET refuses it: {refusal.detail}", RENEW)
    except UNUSABLE as error:
        why = error.detail if isinstance(error, SourceError) else error
        return DiagnosticCheck(name, "ok", f"{finding}; AEMET could not be asked: {why}")
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
        name: structs.replace(
            spec,
            retries=0,
            connect_timeout_s=3.0,
            read_timeout_s=5.0,
            spacing_s=min(spec.spacing_s, 2.0),
        )
        for name, spec in settings.sources.items()
    }
    return structs.replace(settings, sources=impatient)


def _asked(settings: Settings, clock: SystemClock) -> list[DiagnosticCheck]:
    """Ask the providers, where their limits can be kept."""
    try:
        with open_state(settings, lazy=True) as state:
            return _providers(settings, state, clock)
    except UNUSABLE as error:
        return [refused("providers", settings.paths.hosts, error)]


def _providers(settings: Settings, state: State, clock: SystemClock) -> list[DiagnosticCheck]:
    """Ask every enabled host, all at once: with a key what proves it, else for its first page."""
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
        if reply.made_at:
            skews.append((clock.now() - reply.made_at).total_seconds())
        return NoDataYet(name, "it answers")

    keys = {*sources.SOURCES[name].keys, *(key for _, key in sources.SOURCES[name].keyed)}
    finding, remedy = "answers", ""
    try:
        if name != "aemet" and any(getattr(settings.secrets, key) for key in keys):
            with clients(settings, state, clock, [name]) as opened:
                finding, remedy = opened[name].check_key()
        else:  # AEMET's key has a check of its own
            with closing(Http(name, settings, state, clock)) as http, suppress(NoDataYet):
                http.get("/", check=note_date)
    except AuthError as refusal:
        remedy = f"Correct {' and '.join(sorted(key.upper() for key in keys))} in .env."
        return DiagnosticCheck(name, "fail", f"refuses the key: {refusal.detail}", remedy)
    except SourceError as error:
        finding = f"{error.detail} ({settings.sources[name].base_url})"
        remedy = "Check the network and any proxy; until then other sources give its values."
        return DiagnosticCheck(name, "warn", finding, remedy)
    return DiagnosticCheck(name, "warn" if remedy else "ok", finding, remedy)


def _clock(skews: Sequence[float]) -> DiagnosticCheck:
    skew = median_high(skews)
    return _graded(
        "clock",
        abs(skew) <= LARGEST_SKEW_S,
        f"{skew:+.0f} s against the providers'",
        "Let the machine keep network time, for instance with systemd-timesyncd.",
        "fail",
    )


def _time_zone(settings: Settings) -> DiagnosticCheck:
    now = SystemClock().now().astimezone()
    finding = f"the machine keeps {now:%Z}, and so does cron; market days are Europe/Madrid's"
    if now.utcoffset() == now.astimezone(settings.plant.zone).utcoffset():
        finding = f"the machine keeps the plant's time ({now:%Z})"
    return DiagnosticCheck("time_zone", "ok", finding)


# -- channels, schedule, backups and models ---------------------------------------------


def _channels(settings: Settings, state: State) -> DiagnosticCheck:
    urls = settings.secrets.alert_urls
    count, problem = channels.unsent(state)
    if count:
        finding = f"{count} messages could not be sent: {problem}"
        return DiagnosticCheck("channels", "warn", finding, "Check ALERT_URLS in .env.")
    if urls and find_spec("apprise") is None:
        return DiagnosticCheck("channels", "warn", "apprise is not installed", channels.INSTALL)
    ways = ", and by apprise" if urls else " only"
    pulse = "a heartbeat is sent" if settings.secrets.heartbeat_url else "no heartbeat is set"
    finding = f"alerts go to alerts.jsonl and stderr{ways}; {pulse}"
    return DiagnosticCheck("channels", "ok", finding)


def _cron(settings: Settings, state: State, now: datetime) -> DiagnosticCheck:
    """Check that cron calls; one that is gone cannot say so itself."""
    if not is_scheduled(settings, state, now):
        return DiagnosticCheck("cron", "ok", "not used: the jobs of this profile run on demand")
    calls = marks.cron_calls(state, now)
    if calls is None:
        remedy = "Install the schedule with `make cron-install`."
        return DiagnosticCheck("cron", "warn", "never called a job here", remedy)
    ago = (now - calls.last) / timedelta(hours=1)
    return _graded(
        "cron",
        not schedule.cron_was_silent(settings, calls.last, now),
        f"last called at {local_time(calls.last)}, {ago:.1f} h ago",
        "See that cron runs, and that `crontab -l` holds the lines of `make cron-show`.",
        "fail",
    )


def _inbox(settings: Settings, state: State, now: datetime) -> DiagnosticCheck:
    """Name the files that were refused within a day, unless they were taken away."""
    folder = settings.paths.refused
    mark = marks.get_mark(state, marks.REFUSED, "inbox")
    reasons = [
        text
        for name, (at, text) in (mark.note if mark else {}).items()
        if now - from_epoch(at) <= DAY and os.path.lexists(folder / name)
    ]
    return _graded(
        "inbox",
        not reasons,
        " ".join([f"{len(reasons)} refused.", *reasons])
        if reasons
        else "no file was refused within a day",
        f"They lie in {folder}: correct them and put them into the inbox again, or remove them.",
    )


def _backups(settings: Settings, now: datetime) -> DiagnosticCheck:
    manifests = sorted((settings.paths.data / "backup").glob("*/manifest.json"))
    first_day = min(settings.paths.runs.glob("????-??-??"), default=None)
    if not manifests:
        began = _instant(first_day.name, "%Y-%m-%d") if first_day else None
        if began is None or now - began < OLDEST_BACKUP:
            return DiagnosticCheck("backup", "ok", "none yet: weekly_cleanup takes one a week")
        return DiagnosticCheck("backup", "warn", "there is none", TAKE_BACKUP)
    taken = _instant(manifests[-1].parent.name, "%Y-%m-%dT%H%M%SZ")
    if taken is None or now - taken <= OLDEST_BACKUP:
        return DiagnosticCheck("backup", "ok", f"newest: {manifests[-1].parent.name}")
    finding = f"the newest is {(now - taken) / DAY:.0f} days old"
    return DiagnosticCheck("backup", "warn", finding, TAKE_BACKUP)


def _instant(name: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(name, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def _champions(settings: Settings, state: State, now: datetime) -> DiagnosticCheck:
    champions = marks.get_marks(state, marks.CHAMPION)
    if not champions:
        return DiagnosticCheck("models", "ok", "none serves yet: documented rules do")
    if lost := _lost_champions(settings):
        return DiagnosticCheck("models", "warn", f"{lost}; documented rules serve", RETRAIN)
    ages = {name: now - learnt.at for name, learnt in sorted(champions.items())}
    listed = ", ".join(f"{name} {age / DAY:.0f}" for name, age in ages.items())
    return _graded(
        "models",
        max(ages.values()) <= OLDEST_CHAMPION,
        f"days since the training: {listed}",
        "Train with `make train`; its report says why a champion stays.",
    )


def _lost_champions(settings: Settings) -> str:
    """Return what is gone of the champions, in words; a server is not asked."""
    if settings.tracking_uri:
        return ""
    try:
        gone = [str(file) for file in tracking.champion_files(settings) if not file.is_file()]
    except ModelMissing:
        return f"the registry is gone, {settings.paths.mlflow_db}"
    except RegistryUnavailable:
        return ""  # the line of MLflow says so
    return f"the file of a champion is gone: {', '.join(gone)}" if gone else ""


# -- hosts, store, registry and disk ---------------------------------------------------


def _hosts(settings: Settings) -> list[DiagnosticCheck]:
    """Return what is wrong with the limits of the hosts, which are made anew where needed."""
    file = settings.paths.hosts
    aside = damaged_hosts(file)
    try:
        with open_hosts(settings, read_only=True) as hosts:
            if hosts.damaged:
                finding = f"{file} is damaged; the next request to a provider sets it aside"
                return [DiagnosticCheck("hosts", "warn", finding, CHECK_DISK)]
    except UNUSABLE as error:
        return [refused("hosts", file, error)]
    if not aside.exists():
        return []
    finding = f"{file} was damaged: rate limits and circuits began anew"
    return [DiagnosticCheck("hosts", "warn", finding, f"{CHECK_DISK} Then remove {aside}.")]


def _store(settings: Settings, *, may_write: bool) -> DiagnosticCheck:
    """Count the store's series, not its values, which takes longer the longer it lives.

    A server is also tried by a write beside the values.
    """
    try:
        with closing(open_store(settings, lazy=True)) as store:
            series = {channel.series for channel in store.backend.channels()}
            if may_write and (probe := getattr(store.backend, "probe", None)):
                probe()
    except FactoryError as error:
        return DiagnosticCheck("store", "fail", error.message, error.next_step)
    finding = f"{settings.store.backend}, {store.origin}, {len(series)} series"
    return DiagnosticCheck("store", "ok", finding)


def _registry(settings: Settings) -> DiagnosticCheck:
    if settings.tracking_uri:
        return _tracking_server(settings)
    file = settings.paths.mlflow_db
    if not os.path.lexists(file):
        return DiagnosticCheck("mlflow", "ok", "no database yet: the first training makes it")
    try:
        runs, versions = tracking.counts(settings)
    except RegistryUnavailable as error:
        return replace(refused("mlflow", file, error), next_step=RESTORE)
    return DiagnosticCheck("mlflow", "ok", f"{runs} runs, {versions} model versions")


def _tracking_server(settings: Settings) -> DiagnosticCheck:
    uri = settings.secrets.mask(settings.tracking_uri)
    if not uri.startswith("http"):
        return DiagnosticCheck("mlflow", "ok", f"at {uri}")
    try:
        reply = requests.get(f"{settings.tracking_uri.rstrip('/')}/health", timeout=(3.0, 5.0))
        reply.raise_for_status()
    except requests.RequestException as error:
        finding = f"{uri} does not answer ({type(error).__name__}): documented rules serve"
        remedy = "Start the server, or correct MLFLOW_TRACKING_URI."
        return DiagnosticCheck("mlflow", "fail", finding, remedy)
    return DiagnosticCheck("mlflow", "ok", f"{uri} answers")


def machine_checks(settings: Settings) -> list[DiagnosticCheck]:
    """Check registry, time zone and disk: what a look at the machine alone tells."""
    return [_registry(settings), _time_zone(settings), _disk(settings)]


def _growth(settings: Settings, state: State) -> DiagnosticCheck:
    """Check how large the installation will be in a year."""
    expected_gb = growth.year_gb(settings, state)
    if expected_gb is None:
        return DiagnosticCheck("growth", "ok", "known after a week of daily sizes")
    return _graded(
        "growth",
        expected_gb <= settings.alerts.year_gb,
        f"about {expected_gb:.1f} GB in a year's time",
        "Lower [retention] in config/factory.toml, or raise [alerts] year_gb.",
    )


def _disk(settings: Settings) -> DiagnosticCheck:
    data = settings.paths.data
    runs = settings.paths.runs
    for place in (data, *data.parents, runs, *runs.parents):
        if os.path.lexists(place) and not place.is_dir():
            remedy = "See what it is; where it leads to a disk, mount that."
            return DiagnosticCheck("disk", "fail", f"{place} is no folder", remedy)
    folders = [next(filter(Path.is_dir, (place, *place.parents))) for place in (data, runs)]
    for folder in folders:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            finding = f"{folder} is mounted for reading only: every job fails"
            return DiagnosticCheck("disk", "fail", finding, "Mount it for writing.")
    free_gb = shutil.disk_usage(folders[0]).free / 1e9
    used = f"data {size_mb(data):,.0f} MB, runs {size_mb(runs):,.0f} MB"
    return _graded(
        "disk",
        free_gb >= LITTLE_DISK_GB,
        f"{free_gb:,.1f} GB free; {used}",
        "Lower [retention] in config/factory.toml and run `make maintenance`.",
        "warn" if free_gb >= TOO_LITTLE_DISK_GB else "fail",
    )
