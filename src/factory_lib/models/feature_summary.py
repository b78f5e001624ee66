"""The result of the feature job, without the libraries of models: they take a second to import."""

import pandas as pd

from factory_lib.domain.indices import CLASSES
from factory_lib.models.history import FEATURE_SET_VERSION, FeatureSet
from factory_lib.results import JobResult

_INDICES = [
    "energy_cost_index",
    "temperature_comfort_index",
    "energy_optimization_score",
    "chocolate_production_index",
]
_LATEST = [
    "price_eur_kwh",
    "tariff_period",
    "temperature_c",
    "humidity_pct",
    "energy_optimization_score",
    "chocolate_production_index",
    "outdoor_index_class",
]


def summarise_features(features: FeatureSet) -> JobResult:
    """Return the result of the feature job.

    Tables: ``hourly`` (the set), ``features`` (one row per feature: share known, lowest,
    mean and highest value, or the commonest class), ``indices`` (0 to 100) and ``latest``
    (the last 24 hours with all of them known, newest first).
    """
    frame = features.frame
    hours = len(frame)
    complete = int(frame["energy_optimization_score"].notna().sum())
    halted = int((frame["outdoor_index_class"] == CLASSES[-1]).sum())
    halt_share = round(halted / max(complete, 1), 3)
    return JobResult(
        status="ok" if complete == hours else "warn" if complete else "fail",
        summary=f"{complete:,} of {hours:,} hours have all inputs of the score; by the outdoor "
        f"index {halt_share:.0%} of them are Halt. Set {features.hash}, version "
        f"{FEATURE_SET_VERSION}.",
        metrics={
            "hours": hours,
            "known_hours": complete,
            "halt_share": halt_share,
            "feature_version": FEATURE_SET_VERSION,
            "feature_hash": features.hash,
        },
        tables={
            "hourly": frame,
            "features": pd.DataFrame([_description(str(name), frame[name]) for name in frame]),
            "indices": frame[_INDICES],
            "latest": frame[_LATEST].dropna().tail(24)[::-1].reset_index(),
        },
        notes=features.notes,
    )


def _description(name: str, column: pd.Series) -> dict[str, object]:
    row: dict[str, object] = {"feature": name, "known": f"{column.notna().mean():.0%}"}
    if isinstance(column.dtype, pd.CategoricalDtype):
        counts = column.value_counts()
        row["commonest"] = f"{counts.index[0]} ({counts.iloc[0]:,} h)"
        return {**row, "lowest": None, "mean": None, "highest": None}
    values = {"lowest": column.min(), "mean": column.mean(), "highest": column.max()}
    return {**row, **values, "commonest": ""}
