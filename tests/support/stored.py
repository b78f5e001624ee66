"""Values in a store: what a test or a benchmark begins with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from factory_lib.context import RunContext
from factory_lib.frames import tidy


def store_observed(
    ctx: RunContext,
    series: str,
    starts: Any,
    values: Any,
    *,
    place: str,
    source: str,
    at: datetime,
    step_s: int = 3600,
) -> None:
    """Store observed values of one series, as they were retrieved at an instant."""
    rows = tidy(
        series,
        starts,
        values,
        place=place,
        source=source,
        kind="observed",
        resolution_s=step_s,
        retrieved_at=at,
    )
    ctx.store.write(rows, run_id="test")
