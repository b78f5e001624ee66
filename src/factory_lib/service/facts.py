"""The readings that several pages and answers share, each by a function of the library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from factory_lib.catalogue import Measurement
from factory_lib.clock import day_bounds, display_midnight, display_zone, local_day, market_day
from factory_lib.context import RunContext
from factory_lib.domain.tariff import all_in
from factory_lib.features.horizon import HUMIDITY, TEMPERATURE
from factory_lib.models import registry, verification
from factory_lib.models.history import price_series
from factory_lib.monitoring import alerts, diagnostics, health
from factory_lib.pipeline import gaps
from factory_lib.planning import documents, inputs, recommendation
from factory_lib.service.reading import Part, Reading
from factory_lib.settings import Settings
from factory_lib.settings.plant import Plant

DAYS = 7
WINDOW_HOURS = (1, 4, 8)
QUARTERS = 4  # of an hour
SLOW_S = 900.0  # what a page may be behind in figures of weeks
HOURLY = timedelta(hours=1)


def prices(reading: Reading) -> pd.DataFrame:
    """Return the whole price of today and the days ahead, by quarter.

    Returns
    -------
    DataFrame
        ``planning.inputs.prices``; of the whole price also ``low`` and ``high``, the band
        where it is forecast, ``issued``, as it was last forecast, and ``toll``, the toll
        with its tax. Slots without any price are left out.
    """
    return reading.get("prices", _prices, ("store",))


def _prices(ctx: RunContext) -> pd.DataFrame:
    begin = display_midnight(ctx.as_of)
    end = display_midnight(ctx.as_of, DAYS)
    frame = inputs.prices(ctx, begin, end).loc[begin:]
    index = pd.DatetimeIndex(frame.index)
    issued = _issued(ctx, index)
    quantiles = {"low": frame["p10"], "high": frame["p90"], "issued": issued}
    whole = {name: whole_price(ctx.settings, index, values) for name, values in quantiles.items()}
    whole["toll"] = frame["toll_eur_mwh"] * (1 + ctx.settings.contract.electricity_tax_pct / 100)
    return frame.assign(**whole).dropna(subset=["price_eur_mwh"])


def tomorrow_is_published(reading: Reading, now: datetime) -> bool:
    """Return whether every price of tomorrow's market day is published."""
    tiers = prices(reading)["known"]
    begin, end = day_bounds(market_day(now) + timedelta(days=1))
    tomorrow = tiers[(tiers.index >= begin) & (tiers.index < end)]
    return bool(len(tomorrow) and (tomorrow == inputs.PUBLISHED).all())


def whole_price(settings: Settings, index: pd.DatetimeIndex, market: pd.Series) -> pd.Series:
    """Return the whole price that belongs to a market price, EUR/MWh."""
    tariff = None if settings.tariff.price_basis == "pvpc" else inputs.tariff_of(settings)
    return all_in(index, market, tariff, settings.contract)["price_eur_mwh"]


def _issued(ctx: RunContext, index: pd.DatetimeIndex) -> pd.Series:
    """Return the median that was last forecast for each quarter, EUR/MWh of the market."""
    rows = ctx.store.read_forecasts(
        price_series(ctx),
        places=ctx.settings.site.places.prices,
        start=index[0].to_pydatetime(),
        end=index[-1].to_pydatetime() + inputs.QUARTER,
        as_of=ctx.as_of,
    )
    rows = rows.sort_values("issued_at").rename(columns={"target_start": "start"})
    return inputs.lay_in_quarters(rows.drop_duplicates("start", keep="last"), "p50", index)


def windows(frame: pd.DataFrame, now: datetime) -> list[dict[str, Any]]:
    """Return the cheapest windows of 1, 4 and 8 hours from now on, of today and tomorrow each.

    Parameters
    ----------
    frame : DataFrame
        From ``prices``.
    """
    result = []
    for days in (0, 1):
        midnight = display_midnight(now, days)
        day = local_day(midnight, display_zone())
        until = pd.Timestamp(display_midnight(now, days + 1))
        begin = max(pd.Timestamp(midnight), pd.Timestamp(now).floor("15min"))
        price = frame.loc[(frame.index >= begin) & (frame.index < until), "price_eur_mwh"]
        for hours in WINDOW_HOURS:
            means = price.rolling(hours * QUARTERS).mean().dropna()
            if len(means):
                end = pd.Timestamp(str(means.idxmin())) + inputs.QUARTER
                start = end - timedelta(hours=hours)
                window = {"hours": hours, "day": str(day), "start": start, "end": end}
                certain = frame.loc[start : end - inputs.QUARTER, "known"] == inputs.PUBLISHED
                window |= {"price_eur_mwh": float(means.min()), "published": bool(certain.all())}
                result.append(window)
    return result


def gap_report(reading: Reading) -> gaps.GapReport:
    """Return the state of every expected slot."""
    return reading.get("gaps", gaps.analyse, ("store",), SLOW_S)


def accuracy(reading: Reading) -> pd.DataFrame:
    """Return the errors of issued forecasts by series, model and lead, beside the naive ones."""
    return reading.get("accuracy", _accuracy, ("store",), SLOW_S)


def _accuracy(ctx: RunContext) -> pd.DataFrame:
    names = (price_series(ctx), TEMPERATURE, HUMIDITY)
    tables = [
        verification.by_lead(verification.verification_pairs(ctx, name)).assign(series=name)
        for name in names
    ]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def versions(reading: Reading) -> pd.DataFrame:
    """Return the registered versions, newest first."""
    return reading.get("versions", registry.versions, ("registry",), SLOW_S)


def machine(reading: Reading) -> list[diagnostics.DiagnosticCheck]:
    """Return the checks of registry, time zone and disk, which walk over every file."""
    return reading.get(
        "machine", lambda ctx: diagnostics.machine_checks(ctx.settings), ("registry",), SLOW_S
    )


def state_tables(reading: Reading) -> dict[str, pd.DataFrame]:
    """Return what the shared state knows of jobs, calls, series and alerts."""
    return reading.get("state", health.state_tables, ("state",))


# -- today -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Today:
    """Content of the first page.

    Attributes
    ----------
    level : str
        ok, watch, act or unknown: the worst that is true now.
    prices : DataFrame
        Of today and tomorrow, from ``prices``.
    price_now : float, optional
        EUR/MWh, whole.
    running : mapping, optional
        The stage that is under way, as ``plan["stages"]`` has it.
    next_start : mapping, optional
        The first stage of the next batch.
    advice : DataFrame
        From ``recommendation.load_advice``: of hours in which no batch can begin, too.
    saved_eur : float, optional
        This month, against every batch begun with the shift; None without a plan.
    late : DataFrame
        ``series``, ``until``, ``due_until``, ``behind_h`` of series that are behind.
    has_weather : bool
        Whether any weather of the site ever arrived.
    """

    now: datetime
    level: str
    prices: pd.DataFrame
    price_now: float | None
    windows: Sequence[Mapping[str, Any]]
    plan: Mapping[str, Any]
    stages: pd.DataFrame
    running: Mapping[Any, Any] | None
    next_start: Mapping[Any, Any] | None
    advice: pd.DataFrame
    saved_eur: float | None
    alerts: Sequence[Mapping[str, Any]]
    late: pd.DataFrame
    failing: Sequence[str]
    has_weather: bool


def today(reading: Reading) -> Today:
    """Return the state of now."""
    frame = prices(reading)
    tables = state_tables(reading)
    parts: tuple[Part, ...] = ("store", "state", "plans")
    return reading.get("today", lambda ctx: _today(ctx, frame, tables), parts)


def _today(ctx: RunContext, frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Today:
    now = pd.Timestamp(ctx.as_of)
    two_days = frame[frame.index < display_midnight(ctx.as_of, 2)]
    at = two_days.loc[two_days.index <= now, "price_eur_mwh"]
    plan = documents.latest_plan(ctx)
    plans = documents.kept(ctx)[0]
    done = documents.carried_out(plans, ctx.as_of)
    stages = stage_table(plan)
    started = stages[(stages["start"] <= now) & (stages["held_until"] > now)]
    first = stages[stages["stage"] == ctx.settings.plant.stages[0].name]
    coming = first[first["start"] > now].sort_values("start")
    jobs = tables["jobs"]
    late = tables["latest"][tables["latest"]["behind_h"] > 0]
    bad = jobs["status"].isin(health.BAD_STATES) | jobs["overdue_since"].notna()
    failing = list(jobs.loc[bad, "job"])
    arrived = tables["latest"].dropna(subset=["until"])["series"]
    measured = {ctx.settings.catalogue[name].measurement for name in arrived}
    has_weather = Measurement.WEATHER in measured
    open_alerts = [row for row in alerts.alert_rows(ctx.state) if row["severity"] != "info"]
    return Today(
        now=ctx.as_of,
        level=_level(open_alerts, bool(failing or len(late) or not has_weather), at.empty),
        prices=two_days,
        price_now=None if at.empty else float(at.iloc[-1]),
        windows=windows(two_days, ctx.as_of),
        plan=plan,
        stages=with_past(stages, done, ctx.settings.plant),
        running=None if started.empty else started.iloc[-1].to_dict(),
        next_start=None if coming.empty else coming.iloc[0].to_dict(),
        advice=recommendation.load_advice(ctx),
        saved_eur=documents.saved_this_month(ctx, done) if plans else None,
        alerts=open_alerts,
        late=late,
        failing=failing,
        has_weather=has_weather,
    )


def _level(open_alerts: Sequence[Mapping[str, Any]], watch: bool, unknown: bool) -> str:
    if any(alert["severity"] == "critical" for alert in open_alerts):
        return "act"
    return "unknown" if unknown else "watch" if watch or open_alerts else "ok"


def with_past(stages: pd.DataFrame, past: pd.DataFrame, plant: Plant) -> pd.DataFrame:
    """Return the stages of a plan after those that were begun under the plans before it.

    Parameters
    ----------
    past : DataFrame
        From ``documents.carried_out``.
    """
    people = {one.name: one.operators * (one.attended != "never") for one in plant.stages}
    gone = past.assign(people=past["stage"].map(people), begun=True, held_until=past["end"])
    both = pd.concat([part for part in (stages, gone[stages.columns]) if len(part)] or [stages])
    return both.drop_duplicates(["batch", "stage"]).sort_values("start", ignore_index=True)


def stage_table(plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return the stages of ``plan.json`` with instants; empty where there is no plan."""
    columns = [*documents.STAGE_COLUMNS, "people", "begun", "held_until"]
    frame = pd.DataFrame(list(plan.get("stages", [])), columns=columns)
    times = {name: pd.to_datetime(frame[name], utc=True) for name in ("start", "end", "held_until")}
    return frame.assign(**times)
