"""Batches as records: the stages of a plan read and written one batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from factory_lib.planner.plan import Plan
from factory_lib.planner.request import no_stages


@dataclass(frozen=True)
class Batch:
    """A batch with the starts of its stages by name."""

    number: int
    product: str
    kg: float
    starts: Mapping[str, datetime]


def batches(of: Plan | pd.DataFrame) -> tuple[Batch, ...]:
    """Return the batches of a plan, or of a frame of stages."""
    stages = of.stages if isinstance(of, Plan) else of
    result = []
    for number, rows in stages.groupby("batch"):
        starts = dict(zip(rows["stage"], rows["start"].dt.to_pydatetime(), strict=True))
        result.append(Batch(number, rows["product"].iloc[0], float(rows["kg"].iloc[0]), starts))
    return tuple(result)


def stages_of(*some: Batch) -> pd.DataFrame:
    """Return the frame of stages of batches, as a request's ``previous``."""
    rows = [
        (batch.number, batch.product, batch.kg, name, pd.Timestamp(start))
        for batch in some
        for name, start in batch.starts.items()
    ]
    return pd.DataFrame(rows, columns=no_stages().columns) if rows else no_stages()
