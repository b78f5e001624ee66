"""The doctor: keys, providers, store, registry, clock and disk, each with what to do where something is wrong."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from factory_lib import sources
from factory_lib.clock import MADRID, SystemClock, from_epoch
from factory_lib.errors import AuthError, FactoryError, NoDataYet, SourceError
from factory_lib.http import Http, Reply
from factory_lib.monitoring import alerts
from factory_lib.pipeline.targets import clients
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, open_state
from factory_lib.store import open_store

LITTLE_DISK_GB, TOO_LITTLE_DISK_GB = 5.0, 1.0
LARGEST_SKEW_S = 60.0  # of this clock against the providers'
RENEW = (
    "Get a new one at https://opendata.aemet.es/centrodedescargas/altaUsuario and put it into .env."
)
Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor's."""

    name: str
    level: Level
    finding: str
    next_step: str = ""


@dataclass(frozen=True)
class Examination:
    """All lines, and what they come to."""

    checks: tuple[Check, ...]

    @property
    def level(self) -> Level:
        """That of the worst line."""
        found = {check.level for check in self.checks}
        return "fail" if "fail" in found else "warn" if "warn" in found else "ok"

    @property
    def figures(self) -> dict[str, int]:
        """How many lines there are of each level."""
        return {
            level: sum(check.level == level for check in self.checks)
            for level in ("ok", "warn", "fail")
        }

    @property
    def verdict(self) -> str:
        """One sentence."""
        bad = [f"{check.name}: {check.finding}" for check in self.checks if check.level != "ok"]
        return "; ".join(bad) + "." if bad else f"All {len(self.checks)} checks are well."

    def rows(self) -> list[dict[str, str]]:
        """Return the lines as plain records."""
        return [asdict(check) for check in self.checks]


def examine(
    settings: Settings, *, keys_only: bool = False, reach: bool = False, tell: bool = True
) -> Examination:
    """Look everything over; ``reach`` also asks each enabled provider whether it is there.

    A key that is expiring, expired or refused raises an alert, one that is well ends
    it, unless nobody is to be told.
    """
    clock = SystemClock(settings.clock_offset_s)
    with open_state(settings) as state:
        keys = list(_keys(settings, state, clock))
        if tell:
            alerts.settle(
                state,
                alerts.Topic.KEY,
                map(_event, (key for key in keys if key.level != "ok")),
                clock.now(),
            )
        if keys_only:
            return Examination(tuple(keys))
        there = _providers(settings, state, clock) if reach else []
    rooms: Sequence[Callable[[Settings], Check]] = (_store, _registry, _time_zone, _disk)
    return Examination((*keys, *there, *(room(settings) for room in rooms)))


def _event(key: Check) -> alerts.Event:
    severity = {"warn": alerts.Severity.WARNING, "fail": alerts.Severity.CRITICAL}[key.level]
    return alerts.Event(alerts.Topic.KEY, key.name, severity, f"{key.finding}. {key.next_step}")


# -- keys -------------------------------------------------------------------------------------------------------------


def _keys(settings: Settings, state: State, clock: SystemClock) -> Iterator[Check]:
    for name, spec in sources.SOURCES.items():
        names = dict.fromkeys((*spec.keys, *(key for _, key in spec.keyed)))
        for key in names:
            secret: Secret = getattr(settings.secrets, key)
            if not secret:
                yield Check(
                    key,
                    "ok",
                    f"not set: {name} does without it"
                    if spec.keyed
                    else f"not set: {name} is skipped",
                )
            elif key == "aemet_api_key":
                yield _aemet_key(settings, state, clock, secret)
            else:
                yield Check(key, "ok", f"set, for {name}")


def _aemet_key(settings: Settings, state: State, clock: SystemClock, secret: Secret) -> Check:
    """AEMET's keys end after about a hundred days, and only a person can renew one."""
    expiry = token_expiry(secret.reveal())
    if expiry is None:
        return Check(
            "aemet_api_key", "fail", "it is no token with an expiry, which AEMET refuses", RENEW
        )
    days = (expiry - clock.now()) / timedelta(days=1)
    if days <= 0:
        return Check("aemet_api_key", "fail", f"expired on {expiry:%Y-%m-%d}", RENEW)
    told = f"valid until {expiry:%Y-%m-%d}, {days:.0f} days left"
    if days <= settings.alerts.key_warning_days:
        return Check("aemet_api_key", "warn", told, RENEW)
    if sources.missing("aemet", settings):
        return Check("aemet_api_key", "ok", f"{told}; AEMET is switched off here")
    hour = timedelta(hours=1)
    with clients(_in_haste(settings), state, clock, ["aemet"]) as opened:
        try:
            opened["aemet"].ask(
                ["temperature_c"], opened["aemet"].places()[0], clock.now() - hour, clock.now()
            )
        except AuthError as refused:
            return Check("aemet_api_key", "fail", f"AEMET refuses it: {refused.detail}", RENEW)
        except NoDataYet:
            pass
        except SourceError as error:
            return Check("aemet_api_key", "ok", f"{told}; AEMET could not be asked: {error.detail}")
    return Check("aemet_api_key", "ok", f"{told}, accepted by AEMET")


def token_expiry(token: str) -> datetime | None:
    """Return the ``exp`` claim of a JSON Web Token (RFC 7519), UTC; None if it has none or is no such token."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return from_epoch(int(claims["exp"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


# -- providers and clock ----------------------------------------------------------------------------------------------


def _in_haste(settings: Settings) -> Settings:
    return replace(
        settings,
        sources={
            name: replace(spec, retries=0, connect_timeout_s=3.0, read_timeout_s=5.0)
            for name, spec in settings.sources.items()
        },
    )


def _providers(settings: Settings, state: State, clock: SystemClock) -> list[Check]:
    """Ask every enabled host for its first page, side by side, each in its turn; any answer will do."""
    names = [
        name
        for name, spec in settings.sources.items()
        if spec.enabled and not sources.missing(name, settings)
    ]
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        found = list(pool.map(lambda name: _reach(name, _in_haste(settings), state, clock), names))
    checks, skews = (
        [check for check, _ in found],
        sorted(skew for _, skew in found if skew is not None),
    )
    if all(check.level == "warn" for check in checks):
        checks = [replace(check, level="fail") for check in checks]
    if not skews or settings.simulated:
        return checks
    skew = skews[len(skews) // 2]
    good = abs(skew) <= LARGEST_SKEW_S
    remedy = (
        "" if good else "Let the machine keep network time, for instance with systemd-timesyncd."
    )
    return [
        *checks,
        Check("clock", "ok" if good else "fail", f"{skew:+.0f} s against the providers'", remedy),
    ]


def _reach(
    name: str, settings: Settings, state: State, clock: SystemClock
) -> tuple[Check, float | None]:
    dates: list[datetime] = []

    def answered(reply: Reply) -> NoDataYet:
        if "date" in reply.headers:
            dates.append(parsedate_to_datetime(reply.headers["date"]))
        return NoDataYet(name, "it answers")

    http = Http(name, settings, state, clock)
    try:
        http.get("/", check=answered)
    except NoDataYet:
        pass
    except SourceError as error:
        remedy = "Check the network and any proxy; its values come from other sources meanwhile, or later."
        return Check(
            name, "warn", f"{error.detail} ({settings.sources[name].base_url})", remedy
        ), None
    finally:
        http.close()
    return Check(name, "ok", "answers"), (clock.now() - dates[0]).total_seconds() if dates else None


def _time_zone(settings: Settings) -> Check:
    here, there = (SystemClock().now().astimezone(zone) for zone in (None, MADRID))
    if here.utcoffset() == there.utcoffset():
        return Check("time_zone", "ok", f"the machine keeps the plant's time ({here:%Z})")
    return Check(
        "time_zone",
        "ok",
        f"the machine keeps {here:%Z}, and so does cron; market days are Europe/Madrid's",
    )


# -- what lies on this machine ----------------------------------------------------------------------------------------


def _store(settings: Settings) -> Check:
    try:
        with closing(open_store(settings)) as store:
            found = store.inventory()
    except FactoryError as error:
        return Check("store", "fail", error.message, error.next_step)
    return Check(
        "store", "ok", f"{settings.store.backend}, {store.origin}, {found['rows'].sum():,} rows"
    )


def _registry(settings: Settings) -> Check:
    file = settings.paths.runs / "mlflow.db"
    if not file.is_file():
        return Check("mlflow", "ok", "no database yet: the first training makes it")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
            (versions,) = database.execute("SELECT count(*) FROM model_versions").fetchone()
    except sqlite3.Error as error:
        return Check(
            "mlflow",
            "fail",
            f"{file} cannot be read: {error}",
            "Restore a backup: `factory restore`.",
        )
    return Check("mlflow", "ok", f"{runs} runs, {versions} model versions")


def _disk(settings: Settings) -> Check:
    free_gb = shutil.disk_usage(settings.paths.data).free / 1e9
    told = f"{free_gb:,.1f} GB free"
    if free_gb >= LITTLE_DISK_GB:
        return Check("disk", "ok", told)
    level: Level = "warn" if free_gb >= TOO_LITTLE_DISK_GB else "fail"
    return Check(
        "disk", level, told, "Lower [retention] in config/factory.toml and run `make maintenance`."
    )
