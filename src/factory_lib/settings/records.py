"""The typed records behind ``config/factory.toml``; units in names, every value checked when loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from factory_lib.catalogue import SITE, Measurement


def at_least(record: object, **limits: float) -> None:
    """Refuse a record with a number below its limit.

    Raises
    ------
    ValueError
        Names the number.
    """
    for name, limit in limits.items():
        if getattr(record, name) < limit:
            raise ValueError(f"{name} must be at least {limit:g}, not {getattr(record, name):g}")


@dataclass(frozen=True)
class Places:
    """Where the site's values come from, most trusted place first."""

    prices: tuple[str, ...]
    weather: tuple[str, ...]
    climate: tuple[str, ...]

    def of(self, measurement: Measurement) -> tuple[str, ...]:
        """Return the places that speak for the site, by measurement."""
        return {
            Measurement.PRICES: self.prices,
            Measurement.WEATHER: self.weather,
            Measurement.CLIMATE: self.climate,
            Measurement.PLANT: (SITE,),
        }[measurement]


@dataclass(frozen=True)
class Site:
    """The factory's location."""

    name: str
    latitude: float
    longitude: float
    altitude_m: float
    municipality: str
    places: Places
    time_zone: Literal["Europe/Madrid"] = "Europe/Madrid"

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise ValueError("latitude must lie in -90…90 and longitude in -180…180")

    @property
    def grid_place(self) -> str:
        """The site's own coordinates as a place, for providers that answer for any point."""
        return f"{self.latitude:.3f},{self.longitude:.3f}"


@dataclass(frozen=True)
class StoreSettings:
    """Which backend holds the values."""

    backend: Literal["sqlite", "influx"] = "sqlite"


@dataclass(frozen=True)
class SourceSettings:
    """How one provider may be asked."""

    base_url: str
    attribution: str
    requests_per_minute: int
    spacing_s: float
    max_range_days: int
    requests_per_day: int = 0  # 0: no daily quota
    retries: int = 3
    backoff: Literal["none", "linear", "exponential", "fixed"] = "exponential"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    enabled: bool = True
    subscribed: bool = False  # a paid plan that opens more of the provider, where there is one

    def __post_init__(self) -> None:
        at_least(
            self,
            spacing_s=0,
            retries=0,
            max_range_days=1,
            requests_per_minute=1,
            requests_per_day=0,
        )


@dataclass(frozen=True)
class BreakerSettings:
    """When a host is left alone, and for how long."""

    failures: int = 5
    open_s: float = 300.0

    def __post_init__(self) -> None:
        at_least(self, failures=1, open_s=0)


@dataclass(frozen=True)
class SeverityRule:
    """One row of the severity table; ``up_to_h`` is inclusive, absent means no upper end; passes ascend from 0."""

    name: Literal["minor", "moderate", "critical"]
    strategy: str
    priority: Literal["low", "medium", "high"]
    passes_at_min: tuple[int, ...]
    up_to_h: float | None = None

    def __post_init__(self) -> None:
        if self.passes_at_min[:1] != (0,) or list(self.passes_at_min) != sorted(
            set(self.passes_at_min)
        ):
            raise ValueError("passes_at_min must ascend from 0")


@dataclass(frozen=True)
class GapSettings:
    """What counts as which gap, and from when on it is filled without being asked."""

    severities: tuple[SeverityRule, ...]
    automatic_above_h: float = 3.0
    look_back_days: int = 30

    def __post_init__(self) -> None:
        at_least(self, automatic_above_h=0, look_back_days=1)
        *bounded, last = [rule.up_to_h for rule in self.severities] or [0.0]
        ends = [end for end in bounded if end is not None]
        if last is not None or len(ends) != len(bounded) or ends != sorted(set(ends)):
            raise ValueError("severities must ascend by up_to_h, and the last one has none")


@dataclass(frozen=True)
class QualitySettings:
    """From where on a stored value is doubted; by series, in its unit, where the rule is about one.

    Attributes
    ----------
    plausible : mapping of str to (low, high)
        Narrower than the catalogue's range, which is what can be anywhere in the
        region.
    step : mapping of str to float
        Largest jump to the next slot and back.
    flat_line_h : mapping of str to float
        Hours after which an unchanged reading is a dead sensor.
    cross_source : mapping of str to float
        Largest difference between two sources of one slot.
    scale_over_tariff : float
        Largest mean of a day's spot prices, in means of the regulated tariff that
        contains them.
    doubled_over_neighbours : float
        Largest repeated hour of October, in means of the hours around it.
    scale_floor_eur_mwh : float
        Below it a ratio of prices says nothing.
    frozen_h : float
        Hours after which a file's weather that is alike in every reading is a dead
        feed.
    ahead_days : float
        How far ahead of the time of import a file's value may lie.
    """

    plausible: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    step: Mapping[str, float] = field(default_factory=dict)
    flat_line_h: Mapping[str, float] = field(default_factory=dict)
    cross_source: Mapping[str, float] = field(default_factory=dict)
    scale_over_tariff: float = 1.2
    doubled_over_neighbours: float = 1.8
    scale_floor_eur_mwh: float = 10.0
    frozen_h: float = 12.0
    ahead_days: float = 2.0

    def __post_init__(self) -> None:
        for name, limits in self.plausible.items():
            if len(limits) != 2 or limits[0] >= limits[1]:
                raise ValueError(f"plausible.{name} must be [low, high]")


@dataclass(frozen=True)
class TrainingSettings:
    """When a training is worth it and what it is judged on."""

    minimum_rows: int = 1000
    history_days: int = 1461
    folds: int = 3
    seed: int = 20210601

    def __post_init__(self) -> None:
        at_least(self, minimum_rows=1, history_days=1, folds=1)


@dataclass(frozen=True)
class AlertSettings:
    """When an open alert is told again, when it becomes critical by itself, and where alerts are told."""

    cooldown_h: float = 6.0
    escalate_after_h: float = 24.0
    key_warning_days: int = 14
    channels: tuple[Literal["file", "stderr"], ...] = ("file", "stderr")

    def __post_init__(self) -> None:
        at_least(self, cooldown_h=0, escalate_after_h=0, key_warning_days=0)


@dataclass(frozen=True)
class InboxSettings:
    """When a dropped file is taken to be complete: nothing has been written to it for so long."""

    settled_after_s: float = 10.0


@dataclass(frozen=True)
class RetentionSettings:
    """How long what a run leaves behind is kept; the newest run of each job always stays."""

    runs_days: int = 90
    calls_days: int = 30
    backups: int = 4
    log_mb: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, runs_days=1, calls_days=1, backups=1, log_mb=0)


JobKind = Literal[
    "ingestion",
    "gap_analysis",
    "backfill",
    "features",
    "training",
    "predictions",
    "plan",
    "health",
    "maintenance",
    "other",
]


@dataclass(frozen=True)
class JobSettings:
    """A scheduled job: its notebook, when it is due, how often that is checked, its longest time.

    Attributes
    ----------
    kind : str
        The rule by which a tick is due (``runs.due``); one of kind ``other`` is due when
        a value was stored since its last run, or that failed.
    """

    notebook: str
    kind: JobKind = "other"
    cron: str = ""
    timeout_s: int = 900
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(self, timeout_s=1)
        if self.cron and not _is_cadence(self.cron):
            raise ValueError(
                f"cron {self.cron!r} is not five fields: minute, hour, day, month, weekday, such as '*/30 6-22 * * 1-5'"
            )


def _is_cadence(cron: str) -> bool:
    """Whether all five fields hold ``*``, numbers or ranges in their limits, with a step where wanted."""
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    parts = cron.split()
    return len(parts) == len(limits) and all(
        _selects(entry, low, high)
        for part, (low, high) in zip(parts, limits, strict=True)
        for entry in part.split(",")
    )


def _selects(entry: str, low: int, high: int) -> bool:
    found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", entry)
    if not found:
        return False
    first, last, step = (int(number) if number else None for number in found.groups())
    first = low if first is None else first
    return low <= first <= (first if last is None else last) <= high and step != 0


@dataclass(frozen=True)
class ProfileSettings:
    """What a profile lives in; other keys of its table replace those of the whole file."""

    origin: Literal["real", "simulated"] = "real"
    online: bool = True  # false: values come from imported files alone, and no provider is asked
    spacing_s: float | None = None  # instead of every source's own: the simulator needs no sparing
