"""Advice by hour: what a batch begun then costs above one begun at the best hour of the next day.

One batch of the product most in demand is laid on an hourly grid, alone: machines,
people, critical limits of the room and the connection decide where it may begin, the
whole price and the price of slack what it costs. Batches in progress are left to the
plan.
"""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.clock import HOUR_S, display_zone
from factory_lib.context import RunContext
from factory_lib.domain.indices import AHEAD, CLASSES, start_regret
from factory_lib.domain.plant import Bools, Floats, operators
from factory_lib.domain.tariff import Tariff, all_in
from factory_lib.features.horizon import PRICE, VALUES
from factory_lib.files import write_atomically
from factory_lib.models.history import load_hours
from factory_lib.planner.problem import Problem
from factory_lib.planner.request import Order, PlanRequest
from factory_lib.planning import inputs
from factory_lib.planning.documents import Instant, plans_folder
from factory_lib.settings import Settings
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

USUAL_DAYS = 28
LEAST_HOURS = 72
ADVICE_FILE = "advice.json"
ADVICE = ["cost_eur", "regret_eur", "best_start", "production_recommendation"]


@dataclass(frozen=True, eq=False)
class OneBatch:
    """A batch alone on an hourly grid; ``starts`` are the hours in which each stage may begin."""

    problem: Problem
    starts: list[Bools]

    @property
    def chain_h(self) -> int:
        """Return the hours that a chain takes at most, from its first stage to its last."""
        return int(self.problem.duration[0].sum() + self.problem.wait[:-1].sum())

    def eur(self, error_eur_mwh: Floats | float = 0.0) -> Floats:
        """Return the cost of the cheapest whole chain by the hour it begins in, EUR.

        Infinite where none can begin. ``error_eur_mwh`` is added to the market price.
        """
        contract = self.problem.request.contract
        bought = np.multiply(error_eur_mwh, 1 + (contract.losses_pct or 0.0) / 100)
        problem = copy(self.problem)
        problem.price = problem.price + bought * problem.taxed
        return problem.chain_eur(0, self.starts)

    def usual_eur(self) -> float:
        """Return the median cost over the hours in which a chain can begin; NaN without any."""
        eur = self.eur()
        return float(np.median(eur[np.isfinite(eur)])) if np.isfinite(eur).any() else np.nan


Lay = Callable[[pd.DataFrame], OneBatch]


def one_batch(
    plant: Plant, contract: ContractSettings, tariff: Tariff, hourly: pd.DataFrame, *, tolls: bool
) -> OneBatch:
    """Lay one batch on the hours of ``hourly``.

    Parameters
    ----------
    hourly : DataFrame
        Gapless hourly UTC index; market ``price_eur_mwh``, all known; outdoor
        ``temperature_c`` and ``humidity_pct``: where they are NaN the room limits nothing.
    tolls : bool
        Whether tolls come on top of the price; PVPC contains them.
    """
    index = pd.DatetimeIndex(hourly.index)
    end = index[-1].to_pydatetime() + timedelta(hours=1)
    demand = dict.fromkeys(plant.variants, 0.0) | dict(plant.demand.weekly_kg)
    product = max(demand, key=demand.__getitem__)
    request = PlanRequest(
        plant=structs.replace(plant, slot_min=60),
        prices=all_in(index, hourly[PRICE], tariff if tolls else None, contract),
        tariff=tariff,
        contract=contract,
        begin=index[0].to_pydatetime(),
        end=end,
        orders=(Order(product, plant.variants[product].batch_max_kg, due=end),),
        weather=hourly[["temperature_c", "humidity_pct"]],
    )
    problem = Problem(request)
    return OneBatch(problem, problem.startable()[0])


def lay_for(settings: Settings) -> Lay:
    """Return :func:`one_batch` on the terms of a site."""
    terms = (settings.plant, settings.contract, inputs.tariff_of(settings))
    return partial(one_batch, *terms, tolls=settings.tariff.price_basis != "pvpc")


def recommend(batch: OneBatch, usual_eur: float, errors_eur_mwh: Floats) -> pd.DataFrame:
    """Judge every start by the expected price, and its classes by scenarios of the price.

    Parameters
    ----------
    usual_eur : float
        What a batch usually costs.
    errors_eur_mwh : array, shape (scenarios, hours)
        Equally likely errors of the forecast price.

    Returns
    -------
    DataFrame
        :func:`factory_lib.domain.indices.start_regret`, and the probability ``p_<class>``
        of each class; without the last hours, whose chains and better starts may lie beyond.
    """
    index = batch.problem.index
    frame = start_regret(index, batch.eur(), usual_eur)
    classes = [
        start_regret(index, batch.eur(error), usual_eur)["production_recommendation"]
        for error in errors_eur_mwh
    ]
    for name in CLASSES:
        frame[f"p_{name}"] = np.mean([one == name for one in classes], axis=0)
    return frame[: -(batch.chain_h + AHEAD // pd.Timedelta(hours=1))]


def advise(ctx: RunContext, hourly: pd.DataFrame, errors_eur_mwh: Floats) -> pd.DataFrame:
    """Return :func:`recommend` for the working hours ahead, at the prices and weather served.

    A usual batch is the median start of the last four weeks and the hours ahead. With
    prices of fewer than ``LEAST_HOURS`` nothing is known of any hour.

    Parameters
    ----------
    hourly : DataFrame
        UTC index of the hours ahead; ``features.horizon.VALUES``.
    errors_eur_mwh : array, shape (scenarios, hours)
        Errors of past forecasts, laid on ``hourly``.
    """
    ahead = hourly.loc[hourly[PRICE].notna().cummin(), list(VALUES)]
    if len(ahead) < LEAST_HOURS:
        return hourly.reindex(columns=ADVICE)
    past = load_hours(ctx, USUAL_DAYS).hourly
    table = pd.concat([past[past.index < hourly.index[0]], ahead])[list(VALUES)]
    gaps = table[PRICE].isna()[::-1].cumsum()[::-1]
    lay = lay_for(ctx.settings)
    usual_eur = lay(table[gaps == 0]).usual_eur()
    batch = lay(ahead)
    advice = recommend(batch, usual_eur, errors_eur_mwh[:, : len(ahead)])
    working = operators(ctx.settings.plant, pd.DatetimeIndex(advice.index), HOUR_S) > 0
    return advice[working]


def save_advice(ctx: RunContext, advice: pd.DataFrame) -> None:
    """Keep the latest advice beside the latest plan, for pages and programs."""
    file = plans_folder(ctx) / ADVICE_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(advice_document(ctx, advice), ensure_ascii=False))


def advice_document(ctx: RunContext, advice: pd.DataFrame) -> dict[str, Any]:
    """Return the advice as programs read it: times in UTC and local, euros without NaN."""
    table = advice.rename_axis("start").reset_index()
    for name in ("start", "best_start"):
        table[name] = pd.to_datetime(table[name], utc=True)
        table[f"{name}_local"] = table[name].map(_local, na_action="ignore")
    rows = json.loads(table.to_json(orient="records", date_format="iso", date_unit="s"))
    for row in rows:
        row["probability"] = {name: row.pop(f"p_{name}", None) for name in CLASSES}
    return {
        "issued_at": f"{ctx.as_of:%Y-%m-%dT%H:%M:%SZ}",
        "simulated": ctx.simulated,
        "hours": rows,
    }


def _local(instant: pd.Timestamp) -> str:
    return instant.tz_convert(display_zone()).isoformat()


class _Hour(msgspec.Struct):
    start: Instant
    production_recommendation: str
    probability: dict[str, float | None]
    best_start: Instant | None = None
    cost_eur: float | None = None
    regret_eur: float | None = None


class _Form(msgspec.Struct):
    """The part of ``advice.json`` that every reader relies on."""

    hours: list[_Hour]


def read_advice(ctx: RunContext) -> dict[str, Any] | None:
    """Return the document of the latest advice, None where there is none or a damaged one."""
    try:
        document: dict[str, Any] = json.loads((plans_folder(ctx) / ADVICE_FILE).read_bytes())
        msgspec.convert(document, _Form)
    except (OSError, ValueError, RecursionError):
        return None
    return document


def load_advice(ctx: RunContext) -> pd.DataFrame:
    """Return the latest advice that was kept, as ``advise`` gave it; empty where there is none.

    What was infinite is NaN.
    """
    rows = (read_advice(ctx) or {}).get("hours", [])
    frame = pd.DataFrame(rows, columns=["start", *ADVICE])
    for name in CLASSES:
        frame[f"p_{name}"] = [row["probability"].get(name) for row in rows]
    for name in ("start", "best_start"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.set_index("start")
