"""What must hold for any arrivals in any order, on each backend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory_lib.clock import epoch
from factory_lib.frames import UTC_S, conform
from factory_lib.slots import to_index
from factory_lib.store.base import Store

Open = Callable[..., Store]
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
WINDOW: dict[str, Any] = {
    "places": ["5279X", "38.151,-3.629"],
    "start": FIRST,
    "end": FIRST + timedelta(days=2),
}
NAMES = count()
few_on_real_input = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

slot = st.integers(0, 12)
place = st.sampled_from(WINDOW["places"])
origin = st.sampled_from(
    [("aemet", "observed"), ("openweathermap", "observed"), ("open_meteo", "reanalysis")]
)
value = st.sampled_from([-1.5, 0.0, 0.1, 7.25, 30.0])
arrival = st.tuples(slot, place, origin, value)
arrivals = st.lists(arrival, max_size=25)


def frame(parts: list[tuple[int, str, tuple[str, str], float]], hour: int = 0) -> pd.DataFrame:
    """Return arrivals as tidy rows, retrieved one after the other."""
    given_rows = pd.DataFrame(
        {
            "series": "temperature_c",
            "place": [where for _, where, _, _ in parts],
            "source": [source for _, _, (source, _), _ in parts],
            "kind": [kind for _, _, (_, kind), _ in parts],
            "resolution_s": 3600,
            "start": to_index(
                np.array([epoch(FIRST) + number * 3600 for number, *_ in parts], dtype=np.int64)
            ),
            "value": np.array([measured for *_, measured in parts], dtype=np.float64),
            "provider_updated_at": pd.Series(pd.NaT, index=range(len(parts)), dtype=UTC_S),
            "retrieved_at": to_index(epoch(FIRST) + 864_000 + hour * 3600 + np.arange(len(parts))),
        }
    )
    return conform(given_rows)


def identity(part: tuple[int, str, tuple[str, str], float]) -> tuple[int, str, tuple[str, str]]:
    return part[:3]


def views(store: Store) -> list[pd.DataFrame]:
    columns = ["place", "source", "start", "rev", "value", "available_at"]
    return [store.read("temperature_c", raw=raw, **WINDOW)[columns] for raw in (False, True)]


@few_on_real_input
@given(
    parts=arrivals,
    cuts=st.sets(st.integers(1, 24), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_order_and_batches_do_not_change_the_view(
    open_store: Open, backend: str, parts: list[Any], cuts: set[int], order: Any
) -> None:
    once = list({identity(part): part for part in parts}.values())
    one, other = (open_store(backend, f"p{next(NAMES)}") for _ in range(2))
    one.write(frame(once), run_id="a")
    shuffled = order.sample(once, len(once))
    for _, batch in groupby(
        enumerate(shuffled), key=lambda pair: sum(pair[0] >= cut for cut in cuts)
    ):
        other.write(frame([part for _, part in batch]), run_id="a")
    for mine, theirs in zip(views(one), views(other), strict=True):
        order_of = ["start", "place", "source"]
        pd.testing.assert_frame_equal(
            mine.sort_values(order_of, ignore_index=True),
            theirs.sort_values(order_of, ignore_index=True),
        )


@few_on_real_input
@given(batches=st.lists(arrivals, max_size=4))
def test_revs_count_the_changes_and_a_repeated_write_writes_nothing(
    open_store: Open, backend: str, batches: list[list[Any]]
) -> None:
    store = open_store(backend, f"p{next(NAMES)}")
    history: dict[Any, list[float]] = {}
    for hour, batch in enumerate(batches):
        result = store.write(frame(batch, hour), run_id=f"r{hour}")
        written = 0
        for part in {
            identity(part): part for part in batch
        }.values():  # the last of each slot counts
            past = history.setdefault(identity(part), [])
            if not past or past[-1] != part[3]:
                past.append(part[3])
                written += 1
        assert (result.written, result.unchanged) == (written, len(batch) - written)
    raw = store.read("temperature_c", raw=True, **WINDOW)
    assert sorted(raw["value"]) == sorted(v for past in history.values() for v in past)
    for (where, source, start), group in raw.groupby(["place", "source", "start"]):
        (past,) = (
            h for (n, p, (s, _)), h in history.items() if (p, s, n) == (where, source, _slot(start))
        )
        assert group.sort_values("rev")["value"].tolist() == past
    if batches:
        assert store.write(frame(batches[-1], 99), run_id="again").written == 0


@few_on_real_input
@given(first=arrivals, second=arrivals, hours=st.integers(-2, 400))
def test_as_of_shows_what_a_store_of_that_time_would_have_shown(
    open_store: Open, backend: str, first: list[Any], second: list[Any], hours: int
) -> None:
    as_of = FIRST + timedelta(hours=hours)
    store = open_store(backend, f"p{next(NAMES)}")
    store.write(frame(first), run_id="a")
    store.write(frame(second, 1), run_id="b")
    shown = store.read("temperature_c", as_of=as_of, **WINDOW)
    assert (shown["available_at"] <= as_of).all()
    raw = store.read("temperature_c", raw=True, **WINDOW)
    known = raw[raw["available_at"] <= as_of].assign(
        kind_rank=lambda r: r["kind"].map({"observed": 0, "reanalysis": 1}),
        place_rank=lambda r: r["place"].map({p: i for i, p in enumerate(WINDOW["places"])}),
        source_rank=lambda r: r["source"].map({"aemet": 0, "openweathermap": 1, "open_meteo": 2}),
    )
    best = known.sort_values(
        ["kind_rank", "place_rank", "source_rank", "rev"], ascending=[True, True, True, False]
    )
    expected = best.drop_duplicates("start").sort_values("start", ignore_index=True)[list(shown)]
    pd.testing.assert_frame_equal(shown, expected)
    slots = store.slots("temperature_c", as_of=as_of, **WINDOW)
    assert slots.tolist() == [epoch(start) for start in shown["start"]]


def _slot(start: pd.Timestamp) -> int:
    return int((start - pd.Timestamp(FIRST)) / pd.Timedelta(hours=1))
