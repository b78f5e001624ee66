"""The records behind ``config/factory.toml``: units in names, limits in types."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from factory_lib.catalogue import SITE, Measurement
from factory_lib.settings.loading import Count, NonNegative, Positive, Section, WallTime


class Places(Section, frozen=True):
    """The places that stand for the site, most trusted first."""

    prices: tuple[str, ...]
    weather: tuple[str, ...]
    climate: tuple[str, ...]
    plant: str = SITE  # of the plant's own records; a further site's are under its name

    def of(self, measurement: Measurement) -> tuple[str, ...]:
        """Return the places of a measurement."""
        return {
            Measurement.PRICES: self.prices,
            Measurement.WEATHER: self.weather,
            Measurement.CLIMATE: self.climate,
            Measurement.PLANT: (self.plant,),
        }[measurement]


class Site(Section, frozen=True):
    """The factory's location."""

    name: str
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    places: Places
    municipality: str = ""  # INE code, for AEMET's forecast

    @property
    def grid_place(self) -> str:
        """The site's own coordinates as a place, for providers that answer for any point."""
        return f"{self.latitude:.3f},{self.longitude:.3f}"


BackendName = Literal["sqlite", "influx", "postgres"]


class SiteTables(Section, frozen=True):
    """The tables of a further site, each laid over that of the first one."""

    site: Mapping[str, Any] = field(default_factory=dict)
    plant: Mapping[str, Any] = field(default_factory=dict)
    tariff: Mapping[str, Any] = field(default_factory=dict)
    contract: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)


class StoreSettings(Section, frozen=True):
    """The backend of the store."""

    backend: BackendName = "sqlite"


Place = Annotated[str, Meta(pattern=r"^-?\d+(\.\d+)?,-?\d+(\.\d+)?$")]  # latitude,longitude
Weight = Annotated[float, Meta(gt=0)]


class StateSettings(Section, frozen=True):
    """The place of limits, marks, alerts and locks: files of this machine, or shared by several."""

    backend: Literal["sqlite", "postgres"] = "sqlite"


class SourceSettings(Section, frozen=True):
    """Address and limits of one provider.

    Attributes
    ----------
    points : mapping of str to mapping of place to weight
        By quantity, the points whose weighted mean stands for a country.
    """

    base_url: str
    attribution: str
    requests_per_minute: Positive
    spacing_s: NonNegative
    max_range_days: Positive
    requests_per_day: Count = 0  # 0: no daily quota
    retries: Count = 3
    backoff: Literal["none", "linear", "exponential", "fixed"] = "exponential"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    ca_bundle: str = ""  # file of certificates, where the provider sends an incomplete chain
    # local wall time of the day before at which forecasts of its archive are taken as issued
    archive_issued_at: WallTime = WallTime(11)
    archive_delay_h: NonNegative = 9.0  # from the start of a model's run to its forecasts
    points: Mapping[str, Mapping[Place, Weight]] = field(default_factory=dict)
    enabled: bool = True
    subscribed: bool = False  # a paid plan that opens more of the provider, where there is one


class BreakerSettings(Section, frozen=True):
    """The failures in a row after which a host is left alone, and for how long."""

    failures: Positive = 5
    open_s: NonNegative = 300.0


class SeverityRule(Section, frozen=True):
    """One row of the severity table.

    ``up_to_h`` is inclusive, absent means no upper end; passes ascend from 0.
    """

    name: Literal["minor", "moderate", "critical"]
    strategy: str
    priority: Literal["low", "medium", "high"]
    passes_at_min: tuple[int, ...]
    up_to_h: float | None = None

    def __post_init__(self) -> None:
        if [0, *sorted(set(self.passes_at_min) - {0})] != list(self.passes_at_min):
            raise ValueError("passes_at_min must ascend from 0")


class GapSettings(Section, frozen=True):
    """The severities of gaps, and those that are filled automatically."""

    severities: tuple[SeverityRule, ...]
    automatic_above_h: NonNegative = 3.0
    look_back_days: Positive = 30

    def __post_init__(self) -> None:
        *bounded, last = [rule.up_to_h for rule in self.severities] or [0.0]
        ends = [end for end in bounded if end is not None]
        if last is not None or len(ends) != len(bounded) or ends != sorted(set(ends)):
            raise ValueError("severities must ascend by up_to_h, and the last one has none")


class QualitySettings(Section, frozen=True):
    """The limits of the quality rules; by series, in its unit, where the rule is about one.

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
    night_share : float
        Largest mean by night of a file's solar series, in its mean.
    midnight_ratio : float
        How much farther than on other days a file's series may jump at midnight on days
        1 to 12, which are those that can be exchanged with a month.
    meter_mean_kw : float
        Largest mean power of a meter's file.
    """

    plausible: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    step: Mapping[str, float] = field(default_factory=dict)
    flat_line_h: Mapping[str, float] = field(default_factory=dict)
    cross_source: Mapping[str, float] = field(default_factory=dict)
    scale_over_tariff: float = 1.2
    doubled_over_neighbours: float = 1.8
    scale_floor_eur_mwh: float = 10.0
    frozen_h: float = 12.0
    ahead_days: float = 2.0
    night_share: float = 0.5
    midnight_ratio: float = 1.8
    meter_mean_kw: float = 2000.0

    def __post_init__(self) -> None:
        for name, (low, high) in self.plausible.items():
            if low >= high:
                raise ValueError(f"plausible.{name} must be [low, high]")


class SeriesSettings(Section, frozen=True):
    """A series of one's own, such as a sensor, that files bring.

    Attributes
    ----------
    step_min : int
        Length of its slots; readings that come more often are averaged.
    range : (low, high)
        Outside of it a value is rejected.
    column : str
        Heading of its values in a file; beside it stands a column of times.
    late_after_h : float
        Hours after its slot from which a value is missing, not merely late.
    """

    unit: str
    step_min: Literal[15, 60, 1440]
    range: tuple[float, float]
    column: str
    description: str = ""
    late_after_h: NonNegative = 168.0

    def __post_init__(self) -> None:
        if self.range[0] >= self.range[1]:
            raise ValueError("range must be [low, high]")


class TrainingSettings(Section, frozen=True):
    """The data a training needs, and the folds it is judged on."""

    minimum_rows: Positive = 1000
    history_days: Positive = 1461
    price_history_days: Positive = 2700
    folds: Positive = 3
    seed: int = 20210601


class ScaleSettings(Section, frozen=True):
    """The number of sites that are worked on at once, and where.

    Attributes
    ----------
    processes : int
        On this machine; 0: one for each core.
    dask : str
        Address of a Dask scheduler (``tcp://…``) whose workers do it instead.
    """

    processes: Count = 0
    dask: str = ""


class AlertSettings(Section, frozen=True):
    """The channels of alerts, and when an open one is repeated or becomes critical.

    Attributes
    ----------
    digest_at : str
        Local time from which the first run of a day repeats what is still open.
    link : str
        The address under which the folder of runs is served, for the links of messages;
        without it they name the file.
    year_gb : float
        The expected size in a year's time (GB) above which health warns.
    """

    digest_at: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "07:00"
    escalate_after_h: NonNegative = 24.0
    year_gb: NonNegative = 2.0
    key_warning_days: Count = 14
    link: str = ""
    channels: tuple[Literal["file", "stderr"], ...] = ("file", "stderr")


class InboxSettings(Section, frozen=True):
    """The time without writing after which a dropped file is complete."""

    settled_after_s: float = 10.0


class RetentionSettings(Section, frozen=True):
    """The age to which runs, calls, forecasts, backups and logs are kept.

    The newest run of each job always stays.

    Attributes
    ----------
    reports_days : int
        After that many days the last run of each job and day keeps its report, the
        others only their record.
    forecasts_days : int
        After that many days one issue a day of the own forecasts is kept.
    """

    runs_days: Positive = 90
    reports_days: Positive = 30
    forecasts_days: Positive = 90
    calls_days: Positive = 30
    backups: Positive = 4
    log_mb: NonNegative = 1.0


class ServiceSettings(Section, frozen=True):
    """The live page: the host names it answers to, and its language.

    A port is no part of a name; behind a proxy the public name is listed too.
    """

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    language: Literal["en", "es"] = "en"


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


class JobSettings(Section, frozen=True):
    """A scheduled job: its notebook, when it is due, how often that is checked, its longest time.

    Attributes
    ----------
    kind : str
        The rule by which a tick is due (``runs.due``); one of kind ``other`` is due when
        a value was stored since its last run, or that failed.
    per : str
        Run for each site, once for each market (area and basis of prices), or once for the
        installation.
    """

    notebook: str
    kind: JobKind = "other"
    cron: str = ""
    per: Literal["site", "market", "installation"] = "site"
    timeout_s: Positive = 900
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            cron_fields(self.cron or "* * * * *")
        except ValueError:
            raise ValueError(
                f"cron {self.cron!r} is not five fields: minute, hour, day, month, weekday, "
                "such as '*/30 6-22 * * 1-5'"
            ) from None


def cron_fields(cron: str) -> list[list[int]]:
    """Return the minutes, hours, days, months and weekdays (0 and 7: Sunday), ascending.

    Raises
    ------
    ValueError
        If they are not five fields of ``*``, numbers or ranges, with a step or without.
    """
    fields = zip(cron.split(), _CRON_LIMITS, strict=True)
    return [sorted(_numbers(field, *limits)) for field, limits in fields]


_CRON_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_ENTRY = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


def _numbers(field: str, low: int, high: int) -> set[int]:
    numbers: set[int] = set()
    for entry in field.split(","):
        match = _CRON_ENTRY.fullmatch(entry)
        if not match:
            raise ValueError(entry)
        first, last, step = match.groups()
        begin = int(first or low)
        is_open = first is None or (step and not last)
        end = high if is_open else int(last or first)
        if not low <= begin <= end <= high:
            raise ValueError(entry)
        numbers.update(range(begin, end + 1, int(step or 1)))
    return numbers


class ProfileSettings(Section, frozen=True):
    """The world of a profile; other keys of its table replace those of the whole file."""

    origin: Literal["real", "simulated"] = "real"
    online: bool = True  # false: values come from imported files alone, no provider is asked
    spacing_s: float | None = None  # instead of every source's own: the simulator needs none
