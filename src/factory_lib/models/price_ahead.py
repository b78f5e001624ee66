"""The price of the hours ahead as it is served: published, else forecast, else naive, else unknown; and which it is.

The forecaster is served for the leads at which it beat the best naive forecast on the sixteen weeks that it had not
seen; for the others, and while the history is too short for it, the naive forecast stands in. A fit is kept as a file
and used for a week, unless the history it learnt from has changed.
"""

from __future__ import annotations

import zipfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import skops.io
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from factory_lib.errors import TooFewRows
from factory_lib.features import lags, prices
from factory_lib.features.calendar import Matrix
from factory_lib.features.lags import DayMatrix, day_matrix, to_slots
from factory_lib.models import forecasters
from factory_lib.models.baselines import naive_forecasts
from factory_lib.models.calibration import WINDOW_DAYS, band, error_quantiles
from factory_lib.models.forecasters import LEADS, PriceForecaster

PUBLISHED, CHAMPION, NAIVE, UNAVAILABLE = "published", "champion", "naive", "unavailable"
REFIT_DAYS = 7
KEPT_FILES = 2
QUANTILES = ("p10", "p50", "p90")
UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError)
# Reviewed: the forecaster's own three classes, a number type, and the compiled trees of scikit-learn (arrays only).
TRUSTED_TYPES = [
    "factory_lib.models.forecasters.LeadModel",
    "factory_lib.models.forecasters.PriceForecaster",
    "factory_lib.models.forecasters.Recipe",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]


@dataclass(frozen=True)
class PricesAhead:
    """Prices of coming hours.

    Attributes
    ----------
    hourly : DataFrame
        UTC index; ``p10``, ``p50``, ``p90`` (EUR/MWh; all the same where published) and ``tier``.
    notes : tuple of str
        What stands in for what, and why.
    rmae : dict of int to float
        By lead, the forecaster's error over that of the best naive forecast, on days it had not seen.
    fitted : bool
        Whether this call had to fit it.
    """

    hourly: pd.DataFrame
    notes: tuple[str, ...]
    rmae: dict[int, float]
    fitted: bool


def prices_ahead(known: pd.Series, index: pd.DatetimeIndex, folder: Path, name: str) -> PricesAhead:
    """Return the prices of the hours ``index``.

    Parameters
    ----------
    known : Series
        Hourly prices (EUR/MWh) known at the issue time, tomorrow's included where published; UTC index.
    folder : Path
        Where fitted forecasters are kept.
    name : str
        Of the price basis; part of the file's name.
    """
    known = known.dropna()
    hourly = pd.DataFrame({quantile: known.reindex(index) for quantile in QUANTILES}, index=index)
    hourly["tier"] = np.where(hourly["p50"].notna(), PUBLISHED, UNAVAILABLE)
    history = _whole_days(known)
    if history is None:
        return PricesAhead(hourly, ("There is no whole day of prices to go by.",), {}, fitted=False)
    notes, rmae, fitted, said = [], {}, False, None
    try:
        model, fitted = _fitted(history, folder, name)
        said, rmae = model.predict(history), error_ratios(model, history)
    except TooFewRows as error:
        notes.append(f"The price forecaster needs a longer history, the naive forecast stands in: {error}")
    for lead in LEADS:
        tier = CHAMPION if rmae.get(lead, np.inf) < 1 else NAIVE
        rows = said[said["lead"] == lead] if said is not None and tier == CHAMPION else naive_day(history, lead)
        ahead = rows[list(QUANTILES)].dropna(subset=["p50"])
        asked = ahead.index.intersection(index[hourly["tier"] == UNAVAILABLE])
        hourly.loc[asked, list(QUANTILES)] = ahead.loc[asked]
        hourly.loc[asked, "tier"] = tier
    beaten = [str(lead) for lead, ratio in rmae.items() if not ratio < 1]
    if beaten:
        notes.append(f"Naive where the forecaster was no better over the last sixteen weeks: day {', '.join(beaten)}.")
    return PricesAhead(hourly, tuple(notes), rmae, fitted)


def _whole_days(known: pd.Series) -> DayMatrix | None:
    """Return the history up to its last day without a hole."""
    if known.empty:
        return None
    matrix = day_matrix(known)
    whole = np.flatnonzero(np.isfinite(matrix.grid).all(axis=1))
    return matrix.until(matrix.days[whole[-1]]) if len(whole) else None


def naive_day(history: DayMatrix, lead: int) -> pd.DataFrame:
    """Return the day ``lead`` days after the history's last by the naive forecast that did best over sixteen weeks.

    Returns
    -------
    DataFrame
        The day's slots; ``p10`` and ``p90`` are unknown where too few errors are.
    """
    day: date = (history.days[-1] + lead).item()
    future = history.spanning(history.days[0], day)
    candidates = naive_forecasts(future, lead)
    errors = {name: (future.grid - said)[-WINDOW_DAYS - lead :] for name, said in candidates.items()}
    usable = {name: _mean(np.abs(error)) for name, error in errors.items() if np.isfinite(candidates[name][-1]).all()}
    if not usable:
        return pd.DataFrame({name: [] for name in QUANTILES}, index=pd.DatetimeIndex([], tz="UTC"))
    best = min(usable, key=lambda name: (np.nan_to_num(usable[name], nan=np.inf), name))
    point = candidates[best][-1]
    try:
        rows = band(point, error_quantiles(errors[best]), 1.0)
    except TooFewRows:
        rows = np.stack([np.full_like(point, np.nan), point, np.full_like(point, np.nan)])
    return pd.DataFrame({name: to_slots(day, row) for name, row in zip(QUANTILES, rows, strict=True)})


def error_ratios(model: PriceForecaster, history: DayMatrix) -> dict[int, float]:
    """Return, by lead, the error on the weeks kept from the fit over that of the best naive forecast on the same."""
    learnt = history.until(model.fitted_until_)
    ratios = {}
    for lead, errors in model.errors_.items():
        rows = slice(len(learnt.days) - len(errors), None)
        spread = prices.price_features(learnt, lead).spread[rows, None]
        naive = [_mean(np.abs(learnt.grid - said)[rows]) for said in naive_forecasts(learnt, lead).values()]
        ratios[lead] = _mean(np.abs(errors * spread)) / min(naive)
    return ratios


def _mean(values: Matrix) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _fitted(history: DayMatrix, folder: Path, name: str) -> tuple[PriceForecaster, bool]:
    """Return a forecaster at most a week old that learnt from this very history, fitting one where there is none."""
    last: date = history.days[-1].item()
    for file in sorted(folder.glob(f"price-{name}-*.skops"), reverse=True):
        until = date.fromisoformat(file.stem.removeprefix(f"price-{name}-")[:10])
        fresh = 0 <= (last - until).days < REFIT_DAYS
        if fresh and file == _file(history.until(until), folder, name):
            with suppress(*UNREADABLE):  # a damaged file is one that is not there: fit again
                return skops.io.load(file, trusted=TRUSTED_TYPES), False
    with threadpool_limits(1):  # on a busy machine its threads wait for each other far longer than they work
        model = PriceForecaster().fit(history)
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(history, folder, name)
    part = file.with_suffix(".part")
    skops.io.dump(model, part, compression=zipfile.ZIP_DEFLATED)
    part.replace(file)
    for old in sorted(folder.glob(f"price-{name}-*.skops"), key=lambda kept: kept.stat().st_mtime)[:-KEPT_FILES]:
        old.unlink()
    return model, True


def _file(learnt: DayMatrix, folder: Path, name: str) -> Path:
    """Return where a fit on these very prices by this very code is kept."""
    digest = sha256(f"{sklearn.__version__} {learnt.days[0]}".encode())
    for module in (forecasters, prices, lags):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(np.ascontiguousarray(learnt.grid).tobytes())
    return folder / f"price-{name}-{learnt.days[-1]}-{digest.hexdigest()[:12]}.skops"
