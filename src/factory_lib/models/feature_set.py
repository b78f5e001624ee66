"""The set of documented features of the last days, as of one instant, stored under its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.errors import TooFewRows
from factory_lib.features.documented import DOCUMENTED_FEATURES, documented_features
from factory_lib.files import replacing
from factory_lib.models.history import PUBLISHED_AHEAD, load_history

FEATURE_SET_VERSION = 1  # rises with every change of a definition
FEWEST_COMPLETE_HOURS = 24


@dataclass(frozen=True)
class FeatureSet:
    """The documented features of each hour of a window, as of one instant.

    Attributes
    ----------
    frame : DataFrame
        Hourly UTC index, columns ``DOCUMENTED_FEATURES``.
    hash : str
        Of names, version, hours and values: equal hashes, equal sets.
    file : Path
        Where a job stores the set.
    notes : tuple of str
        Provenance of the hours.
    """

    frame: pd.DataFrame
    hash: str
    file: Path
    notes: tuple[str, ...]


def build_feature_set(ctx: RunContext, days: int) -> FeatureSet:
    """Build, and in a job store, the set of the last ``days`` days.

    Where those have no price and weather, of the latest that have.

    Raises
    ------
    TooFewRows
        If fewer than ``FEWEST_COMPLETE_HOURS`` hours have price and weather.
    """
    history = load_history(ctx, days + BAND_DAYS + 1)
    end = ctx.as_of
    notes = history.notes
    if history.hourly[-24 * days :].dropna().empty:
        history = load_history(ctx, ctx.settings.training.history_days + BAND_DAYS + 1)
        complete = history.hourly.dropna()
        if len(complete):
            end = complete.index[-1].to_pydatetime() + timedelta(hours=1)
            until = f"No hour after {end:%Y-%m-%d} has both price and weather"
            notes = (*history.notes, f"{until}: these are the days before it.")
    hourly = history.hourly[history.hourly.index < end + PUBLISHED_AHEAD]
    features = documented_features(hourly, end)
    window = features[features.index >= pd.Timestamp(end - timedelta(days=days))]
    window = window[: window["energy_optimization_score"].last_valid_index()]
    hours = int(window["energy_optimization_score"].notna().sum())
    if hours < FEWEST_COMPLETE_HOURS:
        raise TooFewRows("The feature set", hours, FEWEST_COMPLETE_HOURS)
    digest = _hash(window)
    file = (
        ctx.settings.paths.data / "features" / f"thirteen-v{FEATURE_SET_VERSION}-{digest}.parquet"
    )
    if not (file.exists() or ctx.state.read_only):  # looking stores nothing
        with replacing(file) as part:
            window.to_parquet(part)
    return FeatureSet(window, digest, file, notes)


def _hash(frame: pd.DataFrame) -> str:
    total = sha256(f"{FEATURE_SET_VERSION} {DOCUMENTED_FEATURES}".encode())
    plain = frame.astype(dict.fromkeys(frame.select_dtypes("category"), "str"))
    total.update(pd.util.hash_pandas_object(plain).to_numpy().tobytes())
    return total.hexdigest()[:12]
