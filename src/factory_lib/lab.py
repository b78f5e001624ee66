"""One-line loaders and jobs for notebooks, which import only this module and ``views``.

>>> from factory_lib import lab, views
>>> ctx = lab.open_profile()
>>> prices = lab.series(ctx, "spot_eur_mwh", since="2025-11-01")
>>> lab.runs(ctx).head()
"""

import atexit
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.core.getipython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.catalogue import Series
from factory_lib.clock import HOUR_S, day_start, market_day, parse_instant
from factory_lib.context import RunContext, in_job, open_context
from factory_lib.errors import BadInput, RegistryUnavailable
from factory_lib.frames import wide
from factory_lib.monitoring import alerts
from factory_lib.pipeline import gaps as _gaps
from factory_lib.pipeline.summary import summarise_gaps
from factory_lib.pipeline.targets import places_of
from factory_lib.results import JobResult, ResultStatus
from factory_lib.runs.simulation import ensure_running
from factory_lib.slots import expected, to_index

_profiles = ExitStack()
atexit.register(_profiles.close)


def open_profile(profile: str | None = None, as_of: str = "", site: str = "") -> RunContext:
    """Open a profile for as long as the kernel lives; no file is made before a job writes one.

    Parameters
    ----------
    profile : str, optional
        Without a name that of ``FACTORY_PROFILE``, else the one that a person's command
        last worked in, ``demo`` after `make demo`, else ``live``.
    as_of : str
        ISO, or a date: replays a past instant.
    site : str
        A name of ``[sites]``; empty for the first.
    """
    if shell := get_ipython():
        # figures that were made without pyplot's global state
        select_figure_formats(shell, {"png"})
        # a chart of ours is its own drawing, and a picture beside it takes as long again
        pictures = shell.display_formatter.formatters["image/png"]
        pictures.for_type_by_name("factory_lib.views.drawing", "Chart", lambda _: None)
    settings = factory_settings.load(profile, site or None, last_used=not in_job())
    context = open_context(settings=settings, as_of=as_of or None, lazy=not in_job())
    return _profiles.enter_context(context)


def series(
    ctx: RunContext,
    *names: str,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    hourly: bool = False,
) -> pd.DataFrame:
    """Return series as a wide frame on their regular grid, the best value of each slot.

    Parameters
    ----------
    names : str
        Catalogue names; all of one cadence, unless ``hourly``.
    since, until : str or datetime, optional
        Default: the last 14 days, and everything published ahead.
    hourly : bool
        Quarters as hourly means; of an hour that lacks a quarter what a source gave for
        it as a whole, else NaN.

    Returns
    -------
    DataFrame
        UTC index ``start``, one float column per name; missing slots are NaN.

    Raises
    ------
    BadInput
        If a name is unknown, or the series differ in cadence and ``hourly`` is not set.
    """
    entries = [ctx.catalogue[name] for name in names]
    start = _instant(since) or ctx.as_of - timedelta(days=14)
    end = _instant(until) or max(_gaps.expected_until(entry, ctx.as_of) for entry in entries)
    grid = np.unique(np.concatenate([expected(entry, start, end) for entry in entries]))
    if hourly:
        grid = grid[grid % HOUR_S == 0]
    elif len(entries) > 1:
        _check_cadence(entries, start, end)
    rows = [
        ctx.store.read(
            entry.name,
            places=places_of(ctx.settings, entry),
            start=start,
            end=end,
            as_of=ctx.as_of,
            grid_s=HOUR_S if hourly else None,
        )
        for entry in entries
    ]
    return wide(pd.concat(rows), to_index(grid)).reindex(columns=list(names))


def _check_cadence(entries: list[Series], start: datetime, end: datetime) -> None:
    """Refuse series whose slots differ in length in the window."""
    cadences = (cadence for entry in entries for *_, cadence in entry.spans(start, end))
    if len({cadence.resolution_s for cadence in cadences}) > 1:
        raise BadInput(
            f"{', '.join(entry.name for entry in entries)} differ in cadence.",
            next_step="Pass hourly=True, or load one at a time.",
        )


def _instant(given: str | datetime | None) -> datetime | None:
    """Return the instant that ISO text, or a time with its zone, names; None for nothing.

    Raises
    ------
    BadInput
        If it is neither: a date or a naive time may mean Madrid's, UTC or the machine's.
    """
    if not given:
        return None
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given
    if isinstance(given, str):
        return parse_instant(given)
    raise BadInput(
        f"{given} has no time zone.",
        next_step=f"Write '{given:%Y-%m-%d}' for its local midnight, or name the zone: "
        "pd.Timestamp('2026-01-31 12:00', tz='Europe/Madrid')."
        if isinstance(given, date)
        else "Write '2026-01-31' or '2026-01-31T12:00:00Z'.",
    )


def ingest(ctx: RunContext, sources: str = "all", days: int | None = None) -> JobResult:
    """Import the files of the inbox, then fetch new values; see ``pipeline.ingest``."""
    from factory_lib.admin import inbox
    from factory_lib.pipeline.ingest import ingest as run

    entries = inbox.import_waiting(ctx)
    with ensure_running(ctx.settings, ctx.clock.now()) as settings:
        answered = replace(ctx, settings=settings)
        return inbox.with_inbox(run(answered, sources=sources, days=days), entries)


def gaps(ctx: RunContext, since: str | datetime | None = None) -> JobResult:
    """Analyse the coverage of every series; see ``pipeline.gaps``. A job raises its alerts."""
    report = _gaps.analyse(ctx, _instant(since))
    if since is None and in_job():
        alerts.after_gaps(ctx, report.gaps)
        _gaps.announce(ctx, report.gaps)
    return summarise_gaps(report)


def backfill(
    ctx: RunContext, since: str = "", days: int | None = None, automatic: bool = True
) -> JobResult:
    """Fill gaps; see ``pipeline.backfill``.

    Parameters
    ----------
    since, days : str or int, optional
        First market day, or the number of whole market days before today, from which
        every slot is expected.
    automatic : bool
        Leave out gaps that are too short to be filled automatically (``[gaps]`` of the
        settings).
    """
    from factory_lib.pipeline.backfill import backfill as run

    back = day_start(market_day(ctx.as_of) - timedelta(days=days)) if days else None
    with ensure_running(ctx.settings, ctx.clock.now()) as settings:
        answered = replace(ctx, settings=settings)
        result = run(answered, _instant(since) or back, automatic=automatic)
    alerts.after_recovery(ctx, result)
    alerts.after_gaps(ctx, _gaps.analyse(ctx).gaps)  # filled gaps are no longer alerts
    return result


def features(ctx: RunContext, days: int = 28) -> JobResult:
    """Build the documented features of the last ``days`` days."""
    from factory_lib.models.feature_summary import summarise_features
    from factory_lib.models.history import build_feature_set

    return summarise_features(build_feature_set(ctx, days))


def train(ctx: RunContext, force: bool = False) -> JobResult:
    """Train, evaluate, register and promote the models; see ``models.retrain_trigger``.

    The charts of the page are logged to MLflow as well, and how forests would do for the
    start of a batch.
    """
    from factory_lib.models.retrain_trigger import train as run

    return run(ctx, force=force, draw=training_charts, judge=_judge_starts)


def _judge_starts(*inputs: Any) -> pd.DataFrame:
    from factory_lib.planning.start_models import judge_starts  # where a training is due

    return judge_starts(*inputs)


def training_charts(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the charts of a training by file name, from the tables of its result.

    Without a model of the score there is a sentence in place of each.
    """
    from factory_lib.views import learning_charts as charts

    if tables["scores"].empty:
        return defaultdict(lambda: "No chart: there is no model of the score yet.")
    return {
        "error_by_fold.png": charts.fold_scores(
            tables["fold_mae"], metric="MAE, score points", title="Error of the score by fold"
        ),
        "last_days.png": charts.forecast(
            tables["example"], unit="score", title="Energy optimisation score, last tested days"
        ),
        "confusion.png": charts.confusion_matrix(tables["confusion"]),
        "importances.png": charts.importances(
            dict(tables["importances"]["share"]), "Importance of the score model's features"
        ),
    }


def models(ctx: RunContext) -> pd.DataFrame:
    """Return every registered model version with its alias and metrics."""
    from factory_lib.models import registry

    return registry.versions(ctx)


def trainings(ctx: RunContext, kind: str = "training", most: int = 50) -> pd.DataFrame:
    """Return the newest MLflow runs side by side, a column per metric.

    ``kind`` is training, plan, backtest or own; see ``models.registry.logged_runs``.
    """
    from factory_lib.models import registry

    return registry.logged_runs(ctx, kind, most)


def backtest(
    ctx: RunContext,
    estimator: Any,
    inputs: Sequence[str] = (),
    days: int = 28,
    *,
    log: bool = False,
) -> JobResult:
    """Test a scikit-learn regressor as price model; see ``analysis.own_model.backtest``.

    Parameters
    ----------
    inputs : sequence of str
        Beyond the lags of the price: forecasts such as ``residual_load_mw``, and figures
        of series such as ``temperature_c_mean_3d``.
    log : bool
        Log the candidates as MLflow runs; else nothing is written.
    """
    from factory_lib.analysis import own_model

    return own_model.backtest(ctx, estimator, inputs, days, log=log)


def register(ctx: RunContext, estimator: Any, inputs: Sequence[str] = ()) -> JobResult:
    """Fit such a regressor and register it: it serves if it passes the gates of a training."""
    from factory_lib.analysis import own_model

    return own_model.register(ctx, estimator, inputs)


def predict(ctx: RunContext, days: int = 7) -> JobResult:
    """Predict and store price, weather and score of the ``days`` ahead, and advise by hour."""
    from factory_lib.models.prediction import predict as run
    from factory_lib.models.summary import summarise_prediction
    from factory_lib.planning.recommendation import advise, save_advice
    from factory_lib.planning.review import forecast_regret

    prediction = run(ctx, days)
    alerts.after_predictions(ctx, prediction.drifts)
    advice = advise(ctx, prediction.hourly, prediction.price_errors)
    save_advice(ctx, advice)
    return summarise_prediction(prediction, advice, forecast_regret(ctx))


def plan(ctx: RunContext, days: int = 1, day: str = "") -> JobResult:
    """Plan the next seven days, raise alerts, log to MLflow, and return a view of the plan.

    Parameters
    ----------
    days, day
        Local days on the shift sheet (table ``sheet``) and the first of them: today,
        tomorrow (default), or a date.
    """
    from factory_lib.monitoring.plan_alerts import plan_with_alerts
    from factory_lib.planning import daily

    made, result = plan_with_alerts(ctx, day, days)
    files = pd.DataFrame({"file": made.files})
    result = replace(result, tables={**result.tables, "files": files})
    try:
        run_id = daily.logged(ctx, made, dict(result.metrics))
    except RegistryUnavailable as error:  # which costs the log, not the plan
        status: ResultStatus = "warn" if result.status == "ok" else result.status
        return replace(result, status=status, notes=(*result.notes, f"Not logged: {error}"))
    return replace(result, metrics={**result.metrics, "mlflow_run_id": run_id})


def plan_preview(ctx: RunContext, **changes: Any) -> JobResult:
    """Compare the plan of the next three days with one under ``changes``; nothing is written.

    Parameters
    ----------
    changes
        ``operators`` (more or fewer people in every shift), ``contract_kw``, ``out`` (a
        machine), ``price_eur_mwh`` (added to every price), ``pv_kwp``.
    """
    from factory_lib.planning import daily, summary

    return summary.compare_previews(*daily.preview(ctx, changes))


def plan_review(ctx: RunContext, days: int = 7) -> JobResult:
    """Compare the plans of the last days with prices, production and metered energy."""
    from factory_lib.planning.review import review_plans

    return review_plans(ctx, days)


def explore(
    ctx: RunContext,
    name: str,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
) -> JobResult:
    """Return values, provenance, completeness and distribution of one series.

    Default: its last year with values.
    """
    from factory_lib.analysis.explorer import explore as run

    return run(ctx, name, _instant(since), _instant(until))


def climate_risk(ctx: RunContext, years: int = 4) -> JobResult:
    """Return the months and hours in which the room cannot keep a stage's limits."""
    from factory_lib.analysis.climate_risk import assess

    return assess(ctx, years)


def energy_levers(ctx: RunContext, every: int = 4) -> JobResult:
    """Plan every so many weeks of the last year with other contracts, shifts, batches, modules."""
    from factory_lib.analysis import energy_levers as levers
    from factory_lib.planning.inputs import tariff_of

    since = ctx.as_of - timedelta(days=365)
    hours = series(ctx, *levers.INPUTS, since=since, until=ctx.as_of, hourly=True)
    return levers.study(ctx.settings, tariff_of(ctx.settings), hours, every)


def health(ctx: RunContext, checks: str = "all") -> JobResult:
    """Check jobs, providers, series and the machine; ``checks="keys"`` only the API keys.

    A job raises the alerts of keys that end.
    """
    from factory_lib.monitoring.health import check_health

    return check_health(ctx, keys_only=checks == "keys", notify=in_job())


def maintain(ctx: RunContext) -> JobResult:
    """Back up, remove what is past its retention, compact and check the databases."""
    from factory_lib.admin.maintenance import maintain as run

    return run(ctx)


def forecasts(
    ctx: RunContext,
    name: str,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
) -> pd.DataFrame:
    """Return the stored forecasts of a series, the last issue of each model and slot.

    Parameters
    ----------
    name : str
        Catalogue name.
    since, until : str or datetime, optional
        Of the slots; default: from now to eight days on.

    Returns
    -------
    DataFrame
        ``model``, ``issued_at``, ``target_start`` (UTC), ``p10``, ``p50``, ``p90``, ``tier``.
    """
    start = _instant(since) or ctx.as_of
    return ctx.store.read_forecasts(
        name,
        places=places_of(ctx.settings, ctx.catalogue[name]),
        start=start,
        end=_instant(until) or start + timedelta(days=8),
        as_of=ctx.as_of,
    )


def verification(ctx: RunContext, name: str) -> pd.DataFrame:
    """Return the forecasts of the last weeks beside what came, and the naive forecast."""
    from factory_lib.models.verification import verification_pairs

    return verification_pairs(ctx, name)


def provenance(
    ctx: RunContext,
    name: str,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    *,
    every: bool = False,
) -> pd.DataFrame:
    """Return the values of a series with where each is from and since when it was known.

    Parameters
    ----------
    since, until : str or datetime, optional
        Default: the last 14 days, and everything published ahead.
    every : bool
        Not only the value in use of each slot, but those of every source and revision.

    Returns
    -------
    DataFrame
        As of ``Store.read``: ``start`` (UTC), ``value``, ``place``, ``source``, ``kind``,
        ``rev``, ``available_at``, ``retrieved_at``, ``run_id`` and more.
    """
    entry = ctx.catalogue[name]
    return ctx.store.read(
        name,
        places=places_of(ctx.settings, entry),
        start=_instant(since) or ctx.as_of - timedelta(days=14),
        end=_instant(until) or _gaps.expected_until(entry, ctx.as_of),
        as_of=ctx.as_of,
        raw=every,
    )


def export(
    ctx: RunContext,
    folder: str | Path,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
) -> pd.DataFrame:
    """Write every series and view of a window into a folder; default: the last 14 days.

    Returns the files, with their rows; see ``admin.export.export_all``.
    """
    from factory_lib.admin.export import export_all

    start = _instant(since) or ctx.as_of - timedelta(days=14)
    return export_all(ctx, Path(folder), start, _instant(until) or ctx.as_of + timedelta(days=8))


def attributions(ctx: RunContext) -> list[str]:
    """Return the attribution that each provider of stored values requires, once each."""
    sources = ctx.settings.sources
    stored = sorted(ctx.store.sources() & set(sources))
    return list(dict.fromkeys(sources[name].attribution for name in stored))


def inventory(ctx: RunContext) -> pd.DataFrame:
    """Return the content of the store: one row per series, place, source and kind."""
    return ctx.store.inventory()


def runs(ctx: RunContext, most: int = 100) -> pd.DataFrame:
    """Return the newest runs of the profile, one row each, with their folder."""
    from factory_lib.runs import records

    newest = islice(records.folders(ctx.settings.paths.runs), most)
    return pd.DataFrame(
        [{**structs.asdict(records.read_record(each)), "folder": each} for each in newest]
    )
