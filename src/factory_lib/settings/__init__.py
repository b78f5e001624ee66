"""Environment and ``config/factory.toml`` become one frozen, typed record.

Order of precedence: command line, environment, ``.env``, the profile's table in the
file, the file.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self, get_args

from msgspec import field, structs

from factory_lib.catalogue import ALWAYS, Cadence, Catalogue, default_catalogue, plant_series
from factory_lib.clock import SystemClock, load_clock
from factory_lib.errors import BadInput, ConfigError
from factory_lib.files import write_atomically
from factory_lib.settings.loading import Section, decode, merge
from factory_lib.settings.plant import Plant
from factory_lib.settings.records import (
    AlertSettings,
    BackendName,
    BreakerSettings,
    GapSettings,
    InboxSettings,
    JobSettings,
    ProfileSettings,
    QualitySettings,
    RetentionSettings,
    ScaleSettings,
    SeriesSettings,
    ServiceSettings,
    Site,
    SiteTables,
    SourceSettings,
    StateSettings,
    StoreSettings,
    TrainingSettings,
)
from factory_lib.settings.secrets import Secrets, read_dotenv
from factory_lib.settings.tariff import ContractSettings, TariffSettings

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_PROFILE = "live"
SITE_NAME = r"(?!all$)[a-z0-9][a-z0-9_-]{0,39}"  # part of paths, addresses and model names


@dataclass(frozen=True)
class InfluxSettings:
    """The address of InfluxDB 2.x; the token is in the secrets."""

    url: str
    org: str
    bucket: str


@dataclass(frozen=True)
class Paths:
    """The places of the files of a profile, or of one of its further sites.

    A site has everything of its own but ``profile``'s store, registry, clock and limits.
    """

    root: Path
    data: Path
    runs: Path
    hosts: Path  # rate limits of hosts: of real ones for all real profiles together
    profile: Self | None = None

    @property
    def shared(self) -> Self:
        """The paths of the profile itself."""
        return self.profile or self

    def of_site(self, name: str) -> Self:
        """Return the paths of a further site; those of the first are the profile's."""
        base = self.shared
        if not name:
            return base
        below = Path("sites", name)
        return replace(base, data=base.data / below, runs=base.runs / below, profile=base)

    @property
    def store(self) -> Path:
        """The embedded store."""
        return self.shared.data / "store.db"

    @property
    def state(self) -> Path:
        """The state that all processes share."""
        return self.data / "state.db"

    def lock(self, job: str) -> Path:
        """Return the lock file of a job, which one process at a time may hold."""
        return self.data / "locks" / f"{job}.lock"

    @property
    def clock(self) -> Path:
        """The instant of a simulated profile between two commands."""
        return self.shared.data / "clock"

    @property
    def inbox(self) -> Path:
        """The folder of dropped files, which the next ingestion imports."""
        return self.data / "inbox"

    @property
    def refused(self) -> Path:
        """The folder of dropped files of which nothing could be read."""
        return self.data / "archive" / "refused"

    @property
    def last_profile(self) -> Path:
        """The name of the profile that a person last worked in, for notebooks."""
        return self.shared.data.parent / "last_profile"

    @property
    def notebooks(self) -> Path:
        """The source notebooks."""
        return self.root / "notebooks"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking database, with what its reader would decode written in code."""
        file = str(self.mlflow_db).replace("%", "%25").replace("?", "%3F")
        return f"sqlite:///{file}"

    @property
    def registry(self) -> Path:
        """The folder of MLflow's database and artifacts."""
        return self.shared.runs

    @property
    def mlflow_db(self) -> Path:
        """MLflow's database, where no server is named."""
        return self.registry / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.registry / "mlartifacts"


class FileSettings(Section, frozen=True, kw_only=True):
    """The tables of ``config/factory.toml``, the profile's own laid on top."""

    site: Site
    sources: Mapping[str, SourceSettings]
    gaps: GapSettings
    jobs: Mapping[str, JobSettings]
    plant: Plant
    store: StoreSettings = StoreSettings()
    state: StateSettings = StateSettings()
    breaker: BreakerSettings = BreakerSettings()
    tariff: TariffSettings = TariffSettings()
    contract: ContractSettings = ContractSettings()
    training: TrainingSettings = TrainingSettings()
    quality: QualitySettings = QualitySettings()
    alerts: AlertSettings = AlertSettings()
    inbox: InboxSettings = InboxSettings()
    retention: RetentionSettings = RetentionSettings()
    series: Mapping[str, SeriesSettings] = field(default_factory=dict)
    service: ServiceSettings = ServiceSettings()
    scale: ScaleSettings = ScaleSettings()
    sites: Mapping[str, SiteTables] = field(default_factory=dict)


class Settings(FileSettings, frozen=True, kw_only=True):
    """Everything a command or notebook needs to know, for one site of one profile.

    Attributes
    ----------
    table : mapping
        The file's tables, the profile's own laid on top.
    site_id : str
        A name of ``[sites]``; empty for the first site, that of ``[site]``.
    market_id : str
        The site that fetches prices and trains their model for this one as well.
    """

    profile: str
    file: Path
    table: Mapping[str, Any]
    site_id: str = ""
    market_id: str = ""
    origin: Literal["real", "simulated"]
    paths: Paths
    influx: InfluxSettings
    secrets: Secrets
    catalogue: Catalogue = default_catalogue()
    simulator_url: str = ""
    tracking_uri: str = ""  # of an MLflow server; empty: the profile's own database
    clock_offset_s: float = 0.0

    @property
    def schema(self) -> str:
        """The schema of a PostgreSQL database that holds the profile's values."""
        return f"factory_{self.profile}"

    @property
    def simulated(self) -> bool:
        """Whether this profile lives in the simulator's world."""
        return self.origin == "simulated"

    @property
    def has_market(self) -> bool:
        """Whether prices, fundamentals and the price model are this site's work."""
        return self.site_id == self.market_id

    @property
    def site_ids(self) -> tuple[str, ...]:
        """The first site and those of ``[sites]``."""
        return ("", *self.sites)

    def for_site(self, name: str) -> "Settings":
        """Return the settings of a site of this profile, with the jobs that are its own.

        Raises
        ------
        BadInput
            If there is no such site.
        ConfigError
            If one of its tables has a value that cannot be.
        """
        if name not in self.site_ids:
            raise BadInput(
                f"There is no site {name!r}.",
                next_step=f"Known: {', '.join(self.sites) or 'the first, without a name'}.",
            )
        if name == self.site_id:
            return self
        records = _records(self._table_of(name), str(self.file), f"sites.{name}" if name else "")
        market = self._market_id(name)
        own_work = {"site": True, "market": market == name, "installation": not name}
        jobs = {job: spec for job, spec in records["jobs"].items() if own_work[spec.per]}
        own = {"site_id": name, "market_id": market, "paths": self.paths.of_site(name)}
        return structs.replace(self, **{**records, "jobs": jobs, **own})

    def _market_id(self, name: str) -> str:
        """Return the first site of the market of a site."""
        market = self._market(name)
        return next(one for one in self.site_ids if self._market(one) == market)

    def _market(self, name: str) -> tuple[tuple[str, ...], str]:
        """Return area and basis of a site's prices: sites that share both share their work."""
        table = self._table_of(name)
        where = f"sites.{name}" if name else ""
        file = str(self.file)
        site = decode(Site, table["site"], f"{where}.site".lstrip("."), file=file)
        tariff = decode(TariffSettings, table.get("tariff", {}), f"{where}.tariff", file=file)
        return site.places.prices, tariff.price_basis

    def _table_of(self, name: str) -> Mapping[str, Any]:
        if not name:
            return self.table
        site = {"name": name, "places": {"plant": name}}
        table = merge(self.table, {"site": site, "plant": {"name": name}})
        return merge(table, structs.asdict(self.sites[name]))


def load(
    profile: str | None = None,
    site: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    root: Path = ROOT,
    last_used: bool = False,
) -> Settings:
    """Load the settings of one profile.

    Parameters
    ----------
    profile, site, last_used : str, str, bool
        Tables under ``[profiles]`` and ``[sites]``; default ``FACTORY_PROFILE``, else
        live, or, if ``last_used``, the profile to ``remember``; and ``FACTORY_SITE``.
    env : mapping, optional
        The environment; default the process's own, over ``.env`` of the root.
    root : Path
        The checkout. ``FACTORY_HOME`` moves ``data/`` and ``runs/`` elsewhere and
        ``FACTORY_CONFIG`` names another file, both relative to the checkout;
        ``FACTORY_STORE`` replaces the store's backend, ``FACTORY_SIMULATOR_URL`` is where
        simulated providers are, ``FACTORY_CLOCK_OFFSET_S`` where their clock is.

    Raises
    ------
    ConfigError, BadInput
        If the file is missing, is not TOML or has an impossible value; or no such site.
    """
    environment = {**read_dotenv(root / ".env"), **(os.environ if env is None else env)}
    home = root / environment.get("FACTORY_HOME", "")
    name = profile or environment.get("FACTORY_PROFILE") or _default(home, last_used=last_used)
    file = root / (environment.get("FACTORY_CONFIG") or "config/factory.toml")
    table = _for_profile(_read(file), name, str(file), environment.get("FACTORY_STORE"))
    spec = decode(ProfileSettings, table.pop("profile"), f"profiles.{name}", file=str(file))
    simulated = spec.origin == "simulated"
    simulator_url = environment.get("FACTORY_SIMULATOR_URL", "").rstrip("/") if simulated else ""
    table["sources"] = _sources(table["sources"], spec, simulator_url)
    paths = _paths(root, home, name, simulated)
    first = Settings(
        **_records(table, str(file)),
        profile=name,
        file=file,
        table=table,
        origin=spec.origin,
        paths=paths,
        simulator_url=simulator_url,
        **_services(environment),
        clock_offset_s=_clock_offset_s(environment, paths) if simulated else 0.0,
    )
    return first.for_site(site or environment.get("FACTORY_SITE", ""))


@contextmanager
def own_environment() -> Iterator[None]:
    """Leave the environment after the block as it was before."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def remember(settings: Settings) -> None:
    """Make this the profile that notebooks open: a command of a person works in it."""
    file = settings.paths.last_profile
    if not file.is_file() or file.read_text(encoding="utf-8") != settings.profile:
        write_atomically(file, settings.profile)


def _default(home: Path, *, last_used: bool) -> str:
    """Return the profile that was remembered, where it is wanted and still has data, else live."""
    with suppress(OSError):
        name = (home / "data" / "last_profile").read_text(encoding="utf-8")
        return name if last_used and (home / "data" / name).is_dir() else DEFAULT_PROFILE
    return DEFAULT_PROFILE


def _records(table: Mapping[str, Any], file: str, where: str = "") -> dict[str, Any]:
    """Return the file's records by name, with the catalogue that its own series make."""
    settings = decode(FileSettings, table, where, file=file)
    for name in settings.sites:
        if not re.fullmatch(SITE_NAME, name):
            raise ConfigError(
                f"sites.{name}", "is no name of a site: a-z, 0-9, - and _, not all", file=file
            )
    return {**structs.asdict(settings), "catalogue": _catalogue(settings.series, file)}


def _services(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return addresses and keys of databases and providers."""
    keys = ("URL", "ORG", "BUCKET")
    return {
        "influx": InfluxSettings(*(environment.get(f"INFLUXDB_V2_{key}", "") for key in keys)),
        "secrets": Secrets.from_environment(environment),
        "tracking_uri": environment.get("MLFLOW_TRACKING_URI", "").strip(),
    }


def _catalogue(series: Mapping[str, SeriesSettings], file: str) -> Catalogue:
    """Return the catalogue with the series of one's own, which go by the site's place."""
    base = default_catalogue()
    own = []
    for name, spec in series.items():
        if name in base or not name.isidentifier():
            problem = "is a series already" if name in base else "is no name of a series"
            raise ConfigError(f"series.{name}", problem, file=file)
        cadence = Cadence(ALWAYS, spec.step_min * 60)
        grace = timedelta(hours=spec.late_after_h)
        description = spec.description or name
        own.append(plant_series(name, spec.unit, description, spec.range, cadence, grace))
    return Catalogue([*base.values(), *own]) if own else base


def _paths(root: Path, home: Path, profile: str, simulated: bool) -> Paths:
    data = home / "data" / profile
    return Paths(
        root=root,
        data=data,
        runs=home / "runs" if profile == DEFAULT_PROFILE else home / "runs" / profile,
        hosts=(data if simulated else data.parent) / "hosts.db",
    )


def _clock_offset_s(environment: Mapping[str, str], paths: Paths) -> float:
    if given := environment.get("FACTORY_CLOCK_OFFSET_S"):
        return float(given)
    left_at = load_clock(paths.clock)
    return (left_at - SystemClock().now()).total_seconds() if left_at else 0.0


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"), parse_float=_finite)
    except FileNotFoundError:
        raise ConfigError("file", "is missing", file=str(file)) from None
    except OSError as error:
        raise ConfigError("file", f"cannot be read: {error.strerror}", file=str(file)) from None
    except ValueError as error:
        problem = f"is not TOML: {error}. Write numbers with a point and text in quotes"
        raise ConfigError("file", problem, file=str(file)) from error


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number that can be used")
    return number


def _for_profile(table: dict[str, Any], name: str, file: str, store: str | None) -> dict[str, Any]:
    profiles = table.pop("profiles", {})
    if name not in profiles:
        problem = f"has no profile {name!r}; there are {', '.join(profiles)}"
        raise ConfigError("profiles", problem, file=file)
    own = dict(profiles[name])
    spec = {key: own.pop(key) for key in ("origin", "online", "spacing_s") if key in own}
    if store:
        if store not in get_args(BackendName):
            problem = f"must be one of {', '.join(map(repr, get_args(BackendName)))}, not {store!r}"
            raise ConfigError("FACTORY_STORE", problem, file="environment")
        own = merge(own, {"store": {"backend": store}})
    return {**merge(table, own), "profile": spec}


def _sources(
    sources: Mapping[str, Any], spec: ProfileSettings, simulator_url: str
) -> dict[str, Any]:
    """Lay the profile's own conditions over every source.

    A simulated profile is pointed at the simulator; without its address nothing can be
    fetched, and no real host is ever asked.
    """
    changed: dict[str, Any] = {} if spec.online else {"enabled": False}
    if spec.spacing_s is not None:
        per_minute = round(60 / max(spec.spacing_s, 0.001))
        changed |= {"spacing_s": spec.spacing_s, "requests_per_minute": per_minute}
    result = {name: {**source, **changed} for name, source in sources.items()}
    if spec.origin == "simulated":
        base = simulator_url or "http://127.0.0.1:9"  # the discard port: refuses at once
        for name, source in result.items():
            source["base_url"] = f"{base}/{name}"
    return result
