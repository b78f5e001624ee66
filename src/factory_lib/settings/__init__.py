"""Environment and ``config/factory.toml`` become one frozen, typed record.

Order of precedence: command line, environment, ``.env``, the profile's table in the
file, the file. Imports no room.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from factory_lib.catalogue import Catalogue, default_catalogue
from factory_lib.clock import SystemClock, load_clock
from factory_lib.errors import ConfigError
from factory_lib.settings.loading import build, merge
from factory_lib.settings.plant import Plant
from factory_lib.settings.records import (
    AlertSettings,
    BreakerSettings,
    GapSettings,
    InboxSettings,
    JobSettings,
    ProfileSettings,
    QualitySettings,
    RetentionSettings,
    Site,
    SourceSettings,
    StoreSettings,
    TrainingSettings,
)
from factory_lib.settings.secrets import Secrets, read_dotenv
from factory_lib.settings.tariff import ContractSettings, TariffSettings

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_PROFILE = "live"


@dataclass(frozen=True)
class InfluxSettings:
    """Where InfluxDB 2.x is; the token is in the secrets."""

    url: str
    org: str
    bucket: str


@dataclass(frozen=True)
class Paths:
    """Where a profile's files lie."""

    root: Path
    data: Path
    runs: Path
    hosts: Path  # rate limits of real hosts, for all real profiles of the installation

    @property
    def store(self) -> Path:
        """The embedded store."""
        return self.data / "store.db"

    @property
    def state(self) -> Path:
        """The state that all processes share."""
        return self.data / "state.db"

    def lock(self, job: str) -> Path:
        """Return the lock file of a job, which one process at a time may hold."""
        return self.data / "locks" / f"{job}.lock"

    @property
    def clock(self) -> Path:
        """Where a simulated profile's clock stands between commands."""
        return self.data / "clock"

    @property
    def inbox(self) -> Path:
        """Where files are dropped that the next ingestion imports."""
        return self.data / "inbox"

    @property
    def notebooks(self) -> Path:
        """The source notebooks."""
        return self.root / "notebooks"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking database, with what its reader would decode written in code."""
        file = str(self.runs / "mlflow.db").replace("%", "%25").replace("?", "%3F")
        return f"sqlite:///{file}"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.runs / "mlartifacts"


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """The tables of ``config/factory.toml``, the profile's own laid on top."""

    site: Site
    sources: Mapping[str, SourceSettings]
    gaps: GapSettings
    jobs: Mapping[str, JobSettings]
    plant: Plant
    store: StoreSettings = field(default_factory=StoreSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    tariff: TariffSettings = field(default_factory=TariffSettings)
    contract: ContractSettings = field(default_factory=ContractSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    inbox: InboxSettings = field(default_factory=InboxSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)


@dataclass(frozen=True, kw_only=True)
class Settings(FileSettings):
    """Everything a command or notebook needs to know, for one profile."""

    profile: str
    file: Path
    origin: Literal["real", "simulated"]
    paths: Paths
    influx: InfluxSettings
    secrets: Secrets
    catalogue: Catalogue = field(default_factory=default_catalogue)
    simulator_url: str = ""
    clock_offset_s: float = 0.0

    @property
    def simulated(self) -> bool:
        """Whether this profile lives in the simulator's world."""
        return self.origin == "simulated"


def load(
    profile: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> Settings:
    """Load the settings of one profile.

    Parameters
    ----------
    profile : str, optional
        ``live``, ``demo``, ``history`` or another table under ``[profiles]``; default
        ``FACTORY_PROFILE``, else live.
    env : mapping, optional
        The environment; default the process's own, over ``.env`` of the root.
    root : Path
        The checkout. ``FACTORY_HOME`` moves ``data/`` and ``runs/`` elsewhere and
        ``FACTORY_CONFIG`` names another file; both may be relative to the checkout, so
        that they mean the same to every process. ``FACTORY_SIMULATOR_URL`` is where a
        simulated profile finds its providers, and ``FACTORY_CLOCK_OFFSET_S`` how far
        its clock is from the machine's; without it, the clock goes on from where the
        last command left it.

    Raises
    ------
    ConfigError
        If the file is missing, not TOML, or has a value that cannot be.
    """
    environment = {**read_dotenv(root / ".env"), **(os.environ if env is None else env)}
    name = profile or environment.get("FACTORY_PROFILE") or DEFAULT_PROFILE
    file = root / (environment.get("FACTORY_CONFIG") or "config/factory.toml")
    table = _for_profile(_read(file), name, str(file))
    spec = build(ProfileSettings, table.pop("profile"), f"profiles.{name}", file=str(file))
    home = root / environment.get("FACTORY_HOME", "")
    simulator_url = (
        environment.get("FACTORY_SIMULATOR_URL", "").rstrip("/")
        if spec.origin == "simulated"
        else ""
    )
    table["sources"] = _sources(table["sources"], spec, simulator_url)
    data = home / "data" / name
    paths = Paths(
        root=root,
        data=data,
        runs=home / "runs" if name == "live" else home / "runs" / name,
        hosts=(data if spec.origin == "simulated" else data.parent) / "hosts.db",
    )
    return Settings(
        **vars(build(FileSettings, table, "", file=str(file))),
        profile=name,
        file=file,
        origin=spec.origin,
        paths=paths,
        influx=InfluxSettings(
            *(environment.get(f"INFLUXDB_V2_{key}", "") for key in ("URL", "ORG", "BUCKET"))
        ),
        secrets=Secrets.from_environment(environment),
        simulator_url=simulator_url,
        clock_offset_s=_clock_offset_s(environment, paths) if spec.origin == "simulated" else 0.0,
    )


def _clock_offset_s(environment: Mapping[str, str], paths: Paths) -> float:
    if given := environment.get("FACTORY_CLOCK_OFFSET_S"):
        return float(given)
    stood = load_clock(paths.clock)
    return (stood - SystemClock().now()).total_seconds() if stood else 0.0


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("file", "is missing", file=str(file)) from None
    except OSError as error:
        raise ConfigError("file", f"cannot be read: {error.strerror}", file=str(file)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "file",
            f"is not TOML: {error}. Write numbers with a point and text in quotes",
            file=str(file),
        ) from error


def _for_profile(table: dict[str, Any], name: str, file: str) -> dict[str, Any]:
    profiles = table.pop("profiles", {})
    if name not in profiles:
        raise ConfigError(
            "profiles", f"has no profile {name!r}; there are {', '.join(profiles)}", file=file
        )
    own = dict(profiles[name])
    spec = {key: own.pop(key) for key in ("origin", "online", "spacing_s") if key in own}
    return {**merge(table, own), "profile": spec}


def _sources(
    sources: Mapping[str, Any], spec: ProfileSettings, simulator_url: str
) -> dict[str, Any]:
    """Lay the profile's own conditions over every source.

    A simulated profile is pointed at the simulator; without its address nothing can be
    asked, and no real host ever is.
    """
    base = simulator_url or "http://127.0.0.1:9"  # the discard port: refuses at once
    changed: dict[str, Any] = {} if spec.online else {"enabled": False}
    if spec.spacing_s is not None:
        changed |= {
            "spacing_s": spec.spacing_s,
            "requests_per_minute": round(60 / max(spec.spacing_s, 0.001)),
        }
    return {
        name: {
            **source,
            **changed,
            **({"base_url": f"{base}/{name}"} if spec.origin == "simulated" else {}),
        }
        for name, source in sources.items()
    }
