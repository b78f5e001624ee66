"""The notebooks' door: one line for each thing a data scientist wants, and one for each job a notebook tells.

>>> from factory_lib import lab, views
>>> here = lab.house("demo")
>>> prices = lab.series(here, "spot_eur_mwh", since="2025-11-01")
>>> lab.runs(here).head()
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from factory_lib import series as catalogue
from factory_lib.clock import HOUR_S, day_start, market_day, parse_instant
from factory_lib.errors import BadInput
from factory_lib.frames import wide
from factory_lib.house import House, open_house
from factory_lib.ops import alerts
from factory_lib.pipeline import gaps as _gaps
from factory_lib.pipeline.scope import places_of
from factory_lib.slots import expected, to_index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from factory_lib.models.feature_set import FeatureSet
    from factory_lib.models.outcome import TrainingOutcome
    from factory_lib.models.prediction import PredictionOutcome
    from factory_lib.ops.climate_risk import ClimateRisk
    from factory_lib.ops.explorer import Exploration
    from factory_lib.ops.health import Health
    from factory_lib.ops.plan_review import PlanReview
    from factory_lib.ops.planning import PlanOutcome
    from factory_lib.ops.upkeep import Upkeep
    from factory_lib.pipeline.backfill import BackfillOutcome
    from factory_lib.pipeline.ingest import IngestOutcome

_open = ExitStack()
atexit.register(_open.close)


def house(profile: str | None = None, as_of: str = "") -> House:
    """Open a profile for as long as the kernel lives; ``as_of`` (ISO, or a date) replays a past instant."""
    _show_figures()
    return _open.enter_context(open_house(profile, as_of or None))


def _show_figures() -> None:
    """Let Jupyter draw matplotlib figures that were made without pyplot's global state."""
    from IPython.core.getipython import get_ipython
    from IPython.core.pylabtools import select_figure_formats

    if shell := get_ipython():
        select_figure_formats(shell, {"png"})


def series(
    here: House,
    *names: str,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    hourly: bool = False,
) -> pd.DataFrame:
    """Return series as a wide frame on their own regular grid, the best value of each slot, holes as NaN.

    Parameters
    ----------
    names : str
        Catalogue names; all of one cadence, unless ``hourly``.
    since, until : str or datetime, optional
        Default: the last 14 days, and everything published ahead.
    hourly : bool
        Quarters as hourly means; an hour that lacks a quarter is NaN.

    Raises
    ------
    BadInput
        If a name is unknown, or the series differ in cadence and ``hourly`` is not asked for.
    """
    start = _instant(since) or here.as_of - timedelta(days=14)
    entries = [catalogue.get(name) for name in names]
    end = _instant(until) or max(_gaps.known_until(entry, here.as_of) for entry in entries)
    steps = {cadence.resolution_s for entry in entries for *_, cadence in entry.spans(start, end)}
    if len(steps) > 1 and len(entries) > 1 and not hourly:
        raise BadInput(
            f"{', '.join(names)} differ in cadence.", next_step="Pass hourly=True, or ask for one at a time."
        )
    rows = pd.concat([_read(here, entry, start, end, hourly) for entry in entries], ignore_index=True)
    grid = np.unique(np.concatenate([expected(entry, start, end) for entry in entries]))
    return wide(rows, to_index(grid[grid % HOUR_S == 0] if hourly else grid)).reindex(columns=list(names))


def _read(here: House, entry: catalogue.Series, start: datetime, end: datetime, hourly: bool) -> pd.DataFrame:
    return here.store.read(
        entry.name,
        places=places_of(here.settings, entry),
        start=start,
        end=end,
        as_of=here.as_of,
        grid_s=HOUR_S if hourly else None,
    )


def _instant(given: str | datetime | None) -> datetime | None:
    return parse_instant(given) if isinstance(given, str) else given


def ingest(here: House, sources: str = "all", days: int | None = None) -> IngestOutcome:
    """Import what lies in the inbox, then fetch what is new; see ``pipeline.ingest``."""
    from factory_lib.ops import inbox
    from factory_lib.pipeline.ingest import ingest as run

    dropped = inbox.import_dropped(here)
    return inbox.told(run(here, sources=sources, days=days), dropped)


def gaps(here: House, since: str | datetime | None = None) -> _gaps.GapReport:
    """Account for every slot; see ``pipeline.gaps``."""
    report = _gaps.analyse(here, _instant(since))
    if since is None:
        alerts.after_gaps(here, report.gaps)
    return report


def backfill(here: House, since: str = "", days: int | None = None, automatic: bool = True) -> BackfillOutcome:
    """Fill the holes; ``since`` or so many whole market ``days`` before today make everything from there on expected.

    ``automatic`` leaves alone what is too short to be filled unasked (``[gaps]`` of the settings).
    """
    from factory_lib.pipeline.backfill import backfill as run

    back = day_start(market_day(here.as_of) - timedelta(days=days)) if days else None
    outcome = run(here, _instant(since or None) or back, automatic=automatic)
    alerts.after_recovery(here, outcome)
    alerts.after_gaps(here, _gaps.analyse(here).gaps)  # what was filled is no longer to be told
    return outcome


def features(here: House, days: int = 28) -> FeatureSet:
    """Build the documented thirteen features of the last ``days`` days."""
    from factory_lib.models.feature_set import build

    return build(here, days)


def train(here: House, force: bool = False) -> TrainingOutcome:
    """Train, judge, register and decide; see ``models.training``. The page's charts go to MLflow as well."""
    from factory_lib.models.training import train as run

    return run(here, force=force, draw=training_charts)


def training_charts(outcome: TrainingOutcome) -> dict[str, Figure]:
    """Return the charts of a training by file name."""
    from factory_lib.views import learning_charts as charts

    return {
        "error_by_fold.png": charts.folds(
            outcome.fold_mae, metric="MAE, score points", title="Error of the score by fold"
        ),
        "last_days.png": charts.forecast(
            outcome.example, unit="score", title="Energy optimisation score, last tested days"
        ),
        "confusion.png": charts.confusion(outcome.confusion),
        "importances.png": charts.importances(outcome.importances, "What the score model listens to"),
    }


def models(here: House) -> pd.DataFrame:
    """Return every registered model version with its alias and figures."""
    from factory_lib.models import registry

    return registry.versions(here)


def predict(here: House, days: int = 7) -> PredictionOutcome:
    """Predict and store price, weather, score and recommendation of the ``days`` ahead; see ``models.prediction``."""
    from factory_lib.models.prediction import predict as run

    outcome = run(here, days)
    alerts.after_predictions(here, outcome)
    return outcome


def plan(
    here: House,
    days: int = 1,
    day: str = "",
    *,
    wishes: Sequence[str] = (),
    language: Literal["es", "en"] = "es",
) -> PlanOutcome:
    """Plan ``days`` local days from ``day`` (default: tomorrow), raise what is to be watched, and log to MLflow.

    ``wishes`` are the shift leader's, as of ``factory plan``; see ``ops.planning``.
    """
    from factory_lib.ops import plan_alerts, planning

    first = planning.day_called(day, here.as_of)
    outcome = planning.plan_today(here, days, first, wishes=wishes, language=language)
    plan_alerts.raise_alerts(here, outcome)
    return planning.logged(here, outcome)


def plan_review(here: House, days: int = 7) -> PlanReview:
    """Put the plans of the last days beside what was expected, charged, made and metered."""
    from factory_lib.ops.plan_review import review

    return review(here, days)


def explore(
    here: House, name: str, since: str | datetime | None = None, until: str | datetime | None = None
) -> Exploration:
    """Look at one series: values, provenance, completeness, distribution; by default its last year."""
    from factory_lib.ops.explorer import explore as run

    return run(here, name, _instant(since or None), _instant(until or None))


def climate_risk(here: House, years: int = 4) -> ClimateRisk:
    """Say in which months and hours the room cannot keep a stage's limits."""
    from factory_lib.ops.climate_risk import assess

    return assess(here, years)


def health(here: House, checks: str = "all") -> Health:
    """Look at jobs, providers, series and the machine; ``checks="keys"`` examines the keys alone."""
    from factory_lib.ops.health import look

    return look(here, keys_only=checks == "keys")


def maintain(here: House) -> Upkeep:
    """Back up, let go of what is old, compact and check."""
    from factory_lib.ops.upkeep import maintain as run

    return run(here)


def attributions(here: House) -> list[str]:
    """Return what the providers of the stored values ask to be said, once each."""
    known = here.settings.sources
    stored = sorted({source for source in here.store.inventory()["source"] if source in known})
    return list(dict.fromkeys(known[source].attribution for source in stored))


def inventory(here: House) -> pd.DataFrame:
    """Return what the store holds: one row per series, place, source and kind."""
    return here.store.inventory()


def runs(here: House, most: int = 100) -> pd.DataFrame:
    """Return the newest runs of the profile, one row each, with their folder."""
    from factory_lib.ops import records

    found = islice(records.readable(records.folders(here.settings.paths.runs)), most)
    return pd.DataFrame([{**asdict(record), "folder": folder} for folder, record in found])
