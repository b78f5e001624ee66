"""What planning's tests share.

Instants of one week, and the simulated world's values in a store of its own.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np

from factory_lib.context import RunContext
from factory_sim.world import World
from tests.support.stored import store_observed

NOON = datetime(2025, 11, 19, 11, tzinfo=UTC)  # a Wednesday; tomorrow's prices are not published
EVENING = datetime(2025, 11, 19, 15, 30, tzinfo=UTC)  # now they are
THURSDAY = date(2025, 11, 20)


def furnish(
    ctx: RunContext, now: datetime, *, days: int, quarters: bool, warmer_k: float = 0.0
) -> None:
    """Store so many days of prices and weather, and four days beyond.

    From yesterday on it is so much warmer.
    """
    world = World()
    for name, place, source, step in (
        ("spot_eur_mwh", "ES", "ree", 900 if quarters else 3600),
        ("temperature_c", "5279X", "aemet", 3600),
        ("humidity_pct", "5279X", "aemet", 3600),
    ):
        starts, values = world.window(name, now - timedelta(days=days), now + timedelta(days=4))
        if name == "temperature_c":
            values = np.where(
                starts >= (now - timedelta(days=1)).timestamp(), values + warmer_k, values
            )
        store_observed(ctx, name, starts, values, place=place, source=source, at=now, step_s=step)
