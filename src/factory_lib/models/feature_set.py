"""The feature set of the documented thirteen: built as of one instant, described, and stored under its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.errors import TooFewRows
from factory_lib.features.documented import THIRTEEN, thirteen
from factory_lib.files import replacing
from factory_lib.models import history
from factory_lib.models.history import PUBLISHED_AHEAD

VERSION = 1  # rises with every change of a definition
BAND_DAYS = 91  # the price band needs the 90 days before the issue time, whole
FEWEST_HOURS = 24
SCORES = [
    "energy_cost_index",
    "temperature_comfort_index",
    "energy_optimization_score",
    "chocolate_production_index",
]
LATEST = [
    "price_eur_kwh",
    "tariff_period",
    "temperature_c",
    "humidity_pct",
    *SCORES[2:],
    "production_recommendation",
]


@dataclass(frozen=True)
class FeatureSet:
    """The thirteen features of each hour of a window, as they stand at ``as_of``.

    Attributes
    ----------
    frame : DataFrame
        Hourly UTC index, columns ``features.thirteen.THIRTEEN``.
    hash : str
        Of names, version, hours and values: equal hashes, equal sets.
    file : Path
        Where it is stored.
    """

    frame: pd.DataFrame
    hash: str
    file: Path
    notes: tuple[str, ...]

    @property
    def summary(self) -> pd.DataFrame:
        """One row per feature: share known, and lowest, mean and highest value, or the commonest class."""
        return pd.DataFrame([_describe(str(name), self.frame[name]) for name in self.frame])

    @property
    def scores(self) -> pd.DataFrame:
        """The indices, 0 to 100, as a wide frame."""
        return self.frame[SCORES]

    @property
    def latest(self) -> pd.DataFrame:
        """The last 24 hours for which all of it is known, newest first."""
        known = self.frame[LATEST].dropna().tail(24)[::-1]
        return known.reset_index()

    @property
    def figures(self) -> dict[str, int | float | str]:
        """Key figures for the run record."""
        known = self.frame["energy_optimization_score"].notna()
        halt = self.frame["production_recommendation"] == "Halt Production"
        return {
            "hours": len(self.frame),
            "known_hours": int(known.sum()),
            "halt_share": round(float(halt.sum() / max(known.sum(), 1)), 3),
            "feature_version": VERSION,
            "feature_hash": self.hash,
        }

    @property
    def level(self) -> str:
        """``ok`` where every hour is known, ``fail`` where none is, else ``warn``."""
        known, hours = self.figures["known_hours"], self.figures["hours"]
        return "ok" if known == hours else "warn" if known else "fail"

    @property
    def verdict(self) -> str:
        """One sentence for the top of the page."""
        found = self.figures
        return (
            f"{found['known_hours']:,} of {found['hours']:,} hours have all that the score needs; by the outdoor index "
            f"{found['halt_share']:.0%} of them are Halt. Set {self.hash}, version {VERSION}."
        )


def build(ctx: RunContext, days: int) -> FeatureSet:
    """Build and store the set of the last ``days`` days.

    Raises
    ------
    TooFewRows
        If hardly an hour has price and weather.
    """
    known, end = history.load(ctx, days + BAND_DAYS), ctx.as_of
    notes: tuple[str, ...] = ()
    if known.hourly[-24 * days :].dropna().empty:
        known = history.load(ctx, ctx.settings.training.history_days + BAND_DAYS)
        complete = known.hourly.dropna()
        if len(complete):
            end = complete.index[-1].to_pydatetime() + timedelta(hours=1)
            notes = (
                f"Nothing newer than {end:%Y-%m-%d} has both price and weather: these are the days before it.",
            )
    made = thirteen(known.hourly[known.hourly.index < end + PUBLISHED_AHEAD], end)
    window = made[made.index >= pd.Timestamp(end - timedelta(days=days))]
    window = window[: window["energy_optimization_score"].last_valid_index()]
    hours = int(window["energy_optimization_score"].notna().sum())
    if hours < FEWEST_HOURS:
        raise TooFewRows("The feature set", hours, FEWEST_HOURS)
    digest = _hash(window)
    file = ctx.settings.paths.data / "features" / f"thirteen-v{VERSION}-{digest}.parquet"
    if not file.exists():
        with replacing(file) as part:
            window.to_parquet(part)
    return FeatureSet(window, digest, file, (*known.notes, *notes))


def _hash(frame: pd.DataFrame) -> str:
    total = sha256(f"{VERSION} {THIRTEEN}".encode())
    plain = frame.astype(dict.fromkeys(frame.select_dtypes("category"), "str"))
    total.update(pd.util.hash_pandas_object(plain).to_numpy().tobytes())
    return total.hexdigest()[:12]


def _describe(name: str, column: pd.Series) -> dict[str, object]:
    known = float(column.notna().mean())
    if isinstance(column.dtype, pd.CategoricalDtype):
        counts = column.value_counts()
        return {
            "feature": name,
            "known": f"{known:.0%}",
            "lowest": None,
            "mean": None,
            "highest": None,
            "commonest": f"{counts.index[0]} ({counts.iloc[0]:,} h)",
        }
    low, mean, high = column.min(), column.mean(), column.max()
    return {
        "feature": name,
        "known": f"{known:.0%}",
        "lowest": low,
        "mean": mean,
        "highest": high,
        "commonest": "",
    }
