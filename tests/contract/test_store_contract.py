"""What every backend must do alike; the sections follow the numbered contract of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import QUARTERS_SINCE, default_catalogue
from factory_lib.clock import epoch
from factory_lib.errors import BadInput, OriginMismatch, SchemaMismatch, StoreError
from factory_lib.frames import FORECAST_COLUMNS, UTC_S, concat, tidy
from factory_lib.store import backend as backend_module
from factory_lib.store import merge
from factory_lib.store.base import VERDICT_COLUMNS, VIEW_COLUMNS, Store, WriteResult
from factory_lib.store.copying import copy
from tests.contract.conftest import INFLUX

Open = Callable[..., Store]
RETRIEVED = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = datetime(
    2026, 3, 2, tzinfo=UTC
)  # a Monday in winter time: the market day begins at 23:00Z the day before
EVER = {"start": datetime(1980, 1, 1, tzinfo=UTC), "end": datetime(2100, 1, 1, tzinfo=UTC)}


def rows(
    values: Sequence[float],
    series: str = "temperature_c",
    *,
    first: datetime = DAY,
    place: str = "5279X",
    source: str = "aemet",
    kind: str = "observed",
    resolution_s: int = 3600,
    retrieved_at: datetime = RETRIEVED,
    updated_at: datetime | None = None,
) -> pd.DataFrame:
    starts = epoch(first) + np.arange(len(values), dtype=np.int64) * resolution_s
    return tidy(
        series,
        starts,
        values,
        place=place,
        source=source,
        kind=kind,
        resolution_s=resolution_s,
        retrieved_at=retrieved_at,
        provider_updated_at=updated_at,
    )


def spot(
    values: Sequence[float], *, first: datetime = DAY, resolution_s: int = 900, source: str = "omie"
) -> pd.DataFrame:
    return rows(
        values, "spot_eur_mwh", first=first, place="ES", source=source, resolution_s=resolution_s
    )


def verdict(row: pd.Series, verdict: str, at: datetime) -> pd.DataFrame:
    judged = {name: row[name] for name in ("series", "place", "source", "start", "rev")}
    record = {
        **judged,
        "verdict": verdict,
        "rule": "range",
        "reason": 'looks "odd", a\\b',
        "at": at,
        "by": "Ana",
    }
    return pd.DataFrame([record])[list(VERDICT_COLUMNS)].astype({"start": UTC_S, "at": UTC_S})


def quarantine_first(store: Store) -> None:
    shown = store.read("temperature_c", places=["5279X"], **EVER)
    store.write_verdicts(verdict(shown.iloc[0], "quarantined", RETRIEVED))


def seen(store: Store, **arguments: object) -> list[float]:
    chosen = {"series": "temperature_c", "places": ["5279X"], **EVER, **arguments}
    return store.read(**chosen)["value"].tolist()  # type: ignore[arg-type]


class TestWriting:
    def test_counts_what_it_stored_and_repeating_it_writes_nothing(self, store: Store) -> None:
        assert store.write(rows([1.5, 2.5, 3.5]), run_id="a") == WriteResult(new=3)
        before = store.inventory()
        assert store.write(rows([1.5, 2.5, 3.5]), run_id="b") == WriteResult(unchanged=3)
        pd.testing.assert_frame_equal(store.inventory(), before)

    def test_a_changed_value_is_a_revision_beside_the_first(self, store: Store) -> None:
        store.write(rows([1.0, 2.0]), run_id="a")
        assert store.write(rows([1.0, 9.0]), run_id="b") == WriteResult(revised=1, unchanged=1)
        assert seen(store) == [1.0, 9.0]
        assert seen(store, raw=True) == [1.0, 2.0, 9.0]

    def test_going_back_to_the_first_value_is_rev_3(self, store: Store) -> None:
        for value, run in ((1.0, "a"), (2.0, "b"), (1.0, "c")):
            store.write(rows([value]), run_id=run)
        found = store.read("temperature_c", places=["5279X"], raw=True, **EVER)
        assert found[["rev", "value", "run_id"]].to_numpy().tolist() == [
            [1, 1.0, "a"],
            [2, 2.0, "b"],
            [3, 1.0, "c"],
        ]

    def test_of_several_values_of_one_slot_in_one_write_the_last_retrieved_counts(
        self, store: Store
    ) -> None:
        batch = concat(
            [rows([2.0], retrieved_at=RETRIEVED + timedelta(hours=1)), rows([1.0]), rows([1.0])]
        )
        assert store.write(batch, run_id="a") == WriteResult(new=1, unchanged=2)
        assert store.write(batch, run_id="again") == WriteResult(unchanged=3)
        assert seen(store, raw=True) == [2.0]

    def test_each_row_keeps_its_provenance(self, store: Store) -> None:
        updated = datetime(2026, 3, 9, 8, 30, 1, tzinfo=UTC)
        store.write(
            rows([-0.25], updated_at=updated, place="38.151,-3.629"), run_id='nightly "x", a=b;c'
        )
        (found,) = store.read("temperature_c", places=["38.151,-3.629"], **EVER).to_dict("records")
        assert found == {
            "series": "temperature_c",
            "place": "38.151,-3.629",
            "source": "aemet",
            "kind": "observed",
            "resolution_s": 3600,
            "start": pd.Timestamp(DAY),
            "rev": 1,
            "value": -0.25,
            "available_at": pd.Timestamp(DAY) + pd.Timedelta(hours=2),
            "retrieved_at": pd.Timestamp(RETRIEVED),
            "provider_updated_at": pd.Timestamp(updated),
            "run_id": 'nightly "x", a=b;c',
        }

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param(rows([99.0]), id="beyond-the-range"),
            pytest.param(rows([1.0]).assign(value=np.inf), id="infinite"),
            pytest.param(rows([1.0]).assign(value=np.nan), id="not-a-number"),
            pytest.param(rows([1.0], first=DAY + timedelta(minutes=30)), id="between-two-slots"),
            pytest.param(
                rows([1.0], "gas_generation_mwh", place="ES", source="ree", resolution_s=86400),
                id="not-a-local-midnight",
            ),
        ],
    )
    def test_impossible_values_are_rejected_and_counted(
        self, store: Store, bad: pd.DataFrame
    ) -> None:
        assert store.write(bad, run_id="a") == WriteResult(rejected=1)
        assert store.inventory().empty

    def test_an_unknown_series_is_an_error(self, store: Store) -> None:
        with pytest.raises(BadInput, match="no series"):
            store.write(rows([1.0]).assign(series="moon_phase"), run_id="a")

    def test_several_measurements_in_one_frame(self, store: Store) -> None:
        mixed = concat([rows([1.0]), spot([50.0] * 4), rows([60.0], "humidity_pct")])
        assert store.write(mixed, run_id="a") == WriteResult(new=6)
        assert store.inventory()["measurement"].tolist() == [
            "energy_prices",
            "weather_data",
            "weather_data",
        ]

    def test_nothing_to_write(self, store: Store) -> None:
        assert store.write(rows([]), run_id="a") == WriteResult()

    def test_operations_are_reported_to_the_hook(self, store: Store) -> None:
        operations: list[tuple[str, str, int]] = []
        store.on_operation = lambda name, status, count, _: operations.append((name, status, count))
        store.write(rows([1.0, 2.0]), run_id="a")
        seen(store)
        store.read_verdicts()
        with pytest.raises(BadInput):
            store.write(rows([1.0], "no_such_series"), run_id="a")
        assert operations == [
            ("write", "ok", 2),
            ("read", "ok", 2),
            ("read_verdicts", "ok", 0),
        ]  # a mistake of who asks is no operation


class TestEmptyWindow:
    def test_a_window_without_a_second_holds_nothing(self, store: Store) -> None:
        store.write(rows([1.5, 2.5]), run_id="a")
        for end in (DAY, DAY - timedelta(days=1)):
            window = {"places": ["5279X"], "start": DAY, "end": end}
            assert store.read("temperature_c", **window).empty
            assert store.read("temperature_c", **window, as_of=RETRIEVED).empty
            assert not len(store.slots("temperature_c", **window))
            assert store.read_forecasts("temperature_c", **window).empty


class TestAvailability:
    @pytest.mark.parametrize(
        ("given", "known_at"),
        [
            pytest.param(
                spot([1.0]),
                datetime(2026, 3, 1, 12, 45, tzinfo=UTC),
                id="spot-day-before-1345-local",
            ),
            pytest.param(
                rows([1.0], "pvpc_eur_mwh", place="ES", source="esios"),
                datetime(2026, 3, 1, 19, 20, tzinfo=UTC),
                id="pvpc-day-before-2020-local",
            ),
            pytest.param(
                rows([1.0], "pvpc_eur_mwh", place="ES", source="ree"),
                datetime(2026, 3, 1, 19, 46, tzinfo=UTC),
                id="pvpc-of-ree-day-before-2046-local",
            ),
            pytest.param(
                rows([1.0]), DAY + timedelta(hours=2), id="observation-one-hour-after-its-slot"
            ),
            pytest.param(
                rows([1.0], kind="reanalysis", source="open_meteo"),
                DAY + timedelta(days=5, hours=1),
                id="reanalysis-five-days-after",
            ),
        ],
    )
    def test_a_first_value_is_known_by_the_publication_rule(
        self, store: Store, given: pd.DataFrame, known_at: datetime
    ) -> None:
        store.write(given, run_id="a")
        window = {"places": given["place"].tolist(), **EVER}
        name = given["series"][0]
        assert store.read(name, as_of=known_at, **window)["available_at"].tolist() == [
            pd.Timestamp(known_at)
        ]
        assert store.read(name, as_of=known_at - timedelta(seconds=1), **window).empty
        assert len(store.slots(name, as_of=known_at, **window)) == 1
        assert len(store.slots(name, as_of=known_at - timedelta(seconds=1), **window)) == 0

    @pytest.mark.parametrize(
        ("updated_at", "known_at"),
        [
            pytest.param(None, RETRIEVED, id="when-retrieved"),
            pytest.param(
                RETRIEVED - timedelta(days=2),
                RETRIEVED - timedelta(days=2),
                id="when-the-provider-says",
            ),
            pytest.param(
                DAY - timedelta(days=9), DAY + timedelta(hours=2), id="never-before-the-rule"
            ),
        ],
    )
    def test_a_changed_value_is_known_from_its_change_on(
        self, store: Store, updated_at: datetime | None, known_at: datetime
    ) -> None:
        store.write(rows([1.0]), run_id="a")
        store.write(rows([2.0], updated_at=updated_at), run_id="b")
        assert seen(store, as_of=known_at) == [2.0]
        assert seen(store, as_of=known_at - timedelta(seconds=1)) in ([1.0], [])
        assert seen(store, as_of=DAY + timedelta(hours=1)) == []


class TestOutOfOrder:
    NEWER, OLDER = RETRIEVED - timedelta(days=1), RETRIEVED - timedelta(days=3)

    @pytest.mark.parametrize(
        ("held", "arriving", "counted", "shown"),
        [
            pytest.param(
                NEWER, OLDER, WriteResult(unchanged=1, older=1), 1.0, id="an-older-one-is-late-news"
            ),
            pytest.param(OLDER, NEWER, WriteResult(revised=1), 2.0, id="a-newer-one-revises"),
            pytest.param(
                NEWER,
                NEWER,
                WriteResult(revised=1),
                2.0,
                id="of-the-same-instant-the-later-arrival",
            ),
            pytest.param(
                None, OLDER, WriteResult(revised=1), 2.0, id="nobody-knows-of-the-held-one"
            ),
            pytest.param(
                NEWER, None, WriteResult(revised=1), 2.0, id="nobody-knows-of-the-arriving-one"
            ),
        ],
    )
    def test_what_its_provider_replaced_before_never_becomes_the_newest_revision(
        self,
        store: Store,
        held: datetime | None,
        arriving: datetime | None,
        counted: WriteResult,
        shown: float,
    ) -> None:
        store.write(rows([1.0], updated_at=held), run_id="a")
        late = rows([2.0], updated_at=arriving, retrieved_at=RETRIEVED + timedelta(hours=1))
        assert store.write(late, run_id="b") == counted
        assert seen(store) == [shown]
        assert store.write(late, run_id="again").written == 0

    def test_each_slot_is_judged_by_its_own_newest_revision(self, store: Store) -> None:
        store.write(rows([1.0, 1.0, 1.0], updated_at=self.OLDER), run_id="a")
        store.write(rows([2.0], updated_at=self.NEWER), run_id="b")
        between = rows([3.0, 3.0, 1.0], updated_at=self.OLDER + timedelta(days=1))
        assert store.write(between, run_id="c") == WriteResult(revised=1, unchanged=2, older=1)
        assert seen(store) == [2.0, 3.0, 1.0]

    def test_what_a_dated_revision_replaced_stays_replaced_when_it_is_read_again_undated(
        self, store: Store
    ) -> None:
        undated = rows([1.0])
        store.write(undated, run_id="a")
        for value in (2.0, 4.0):  # neither after one dated revision nor after two
            store.write(rows([value], updated_at=self.NEWER), run_id="b")
            assert store.write(undated, run_id="again") == WriteResult(unchanged=1, older=1)
            assert seen(store) == [value]
        assert store.write(rows([3.0]), run_id="news") == WriteResult(revised=1)
        assert seen(store) == [3.0]

    def test_an_undated_value_may_go_back(self, store: Store) -> None:
        for value in (1.0, 2.0):
            store.write(rows([value]), run_id="a")
        assert store.write(rows([1.0]), run_id="b") == WriteResult(revised=1)
        assert seen(store) == [1.0]

    def test_within_one_write_too(self, store: Store) -> None:
        later = RETRIEVED + timedelta(hours=1)
        batch = concat(
            [
                rows([2.0], updated_at=self.OLDER, retrieved_at=later),
                rows([1.0], updated_at=self.NEWER),
            ]
        )
        assert store.write(batch, run_id="a") == WriteResult(new=1, unchanged=1)
        assert store.write(batch, run_id="again") == WriteResult(unchanged=2)
        assert seen(store, raw=True) == [1.0]


class TestView:
    def test_prefers_kind_then_place_then_source_then_rev(self, store: Store) -> None:
        store.write(
            rows([1.0], place="38.151,-3.629", source="open_meteo", kind="reanalysis"), run_id="a"
        )
        store.write(rows([2.0], place="5279X", source="open_meteo", kind="reanalysis"), run_id="a")
        places = ["5279X", "38.151,-3.629"]
        assert seen(store, places=places) == [2.0]
        store.write(rows([3.0], place="38.151,-3.629", source="openweathermap"), run_id="a")
        assert seen(store, places=places) == [3.0]
        store.write(rows([4.0], place="38.151,-3.629", source="aemet"), run_id="a")
        assert seen(store, places=places) == [4.0]
        store.write(rows([5.0], place="5279X", source="a_stranger"), run_id="a")
        assert seen(store, places=places) == [5.0]
        assert seen(store, places=places[::-1]) == [4.0]
        assert sorted(seen(store, places=places, raw=True)) == [1.0, 2.0, 3.0, 4.0, 5.0]

    def test_series_come_in_the_order_asked_and_slots_in_the_order_of_time(
        self, store: Store
    ) -> None:
        store.write(rows([3.0], first=DAY + timedelta(hours=5)), run_id="a")
        store.write(concat([rows([1.0, 2.0]), rows([60.0], "humidity_pct")]), run_id="a")
        found = store.read(["temperature_c", "humidity_pct"], places=["5279X"], **EVER)
        assert found["value"].tolist() == [1.0, 2.0, 3.0, 60.0]
        assert tuple(found) == VIEW_COLUMNS

    def test_the_window_is_half_open(self, store: Store) -> None:
        store.write(rows([1.0, 2.0, 3.0]), run_id="a")
        assert seen(store, start=DAY, end=DAY + timedelta(hours=2)) == [1.0, 2.0]
        assert seen(store, start=DAY + timedelta(seconds=1), end=DAY + timedelta(hours=1)) == []

    def test_no_place_is_nothing_and_not_an_error(self, store: Store) -> None:
        store.write(rows([1.0]), run_id="a")
        assert seen(store, places=[]) == []
        assert len(store.slots("temperature_c", places=[], **EVER)) == 0
        assert store.read_forecasts("temperature_c", places=[], **EVER).empty

    def test_other_places_are_not_shown(self, store: Store) -> None:
        store.write(rows([1.0], place="J17"), run_id="a")
        assert seen(store) == []
        assert seen(store, raw=True) == []

    def test_a_kind_the_catalogue_does_not_accept_is_stored_but_in_no_view(
        self, store: Store
    ) -> None:
        assert store.write(rows([1.0], kind="synthetic"), run_id="a").new == 1
        assert seen(store) == []
        assert len(store.slots("temperature_c", places=["5279X"], **EVER)) == 0
        assert seen(store, raw=True) == [1.0]

    def test_a_value_at_another_cadence_than_the_valid_one_is_in_no_view(
        self, store: Store
    ) -> None:
        store.write(spot([40.0, 41.0], resolution_s=3600), run_id="a")
        store.write(spot([50.0]), run_id="a")
        assert seen(store, series="spot_eur_mwh", places=["ES"]) == [50.0]
        assert store.slots("spot_eur_mwh", places=["ES"], **EVER).tolist() == [epoch(DAY)]

    def test_an_empty_view_has_the_columns_and_types_of_a_full_one(self, store: Store) -> None:
        empty = store.read("temperature_c", places=["5279X"], **EVER)
        store.write(rows([1.0]), run_id="a")
        assert (
            empty.dtypes.to_dict()
            == store.read("temperature_c", places=["5279X"], **EVER).dtypes.to_dict()
        )

    @pytest.mark.parametrize("as_of", [None, RETRIEVED], ids=["now", "as-of"])
    def test_slots_are_the_starts_that_read_shows(
        self, store: Store, as_of: datetime | None
    ) -> None:
        store.write(rows([1.0, 2.0, 3.0, 4.0]), run_id="a")
        store.write(rows([1.0, 9.0], retrieved_at=RETRIEVED + timedelta(days=1)), run_id="b")
        store.write(
            rows([5.0] * 3, first=DAY + timedelta(hours=3), source="openweathermap"), run_id="a"
        )
        found = store.read("temperature_c", places=["5279X"], as_of=as_of, **EVER)
        slots = store.slots("temperature_c", places=["5279X"], as_of=as_of, **EVER)
        assert slots.dtype == np.int64
        assert slots.tolist() == [epoch(t) for t in found["start"]]
        assert len(slots) == 6


class TestHourlyGrid:
    def test_an_hour_is_the_mean_of_its_four_quarters_else_absent(self, store: Store) -> None:
        store.write(spot([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]), run_id="a")
        found = store.read("spot_eur_mwh", places=["ES"], grid_s=3600, **EVER)
        assert found["value"].tolist() == [25.0]
        assert found["resolution_s"].tolist() == [3600]

    def test_hours_before_the_change_and_quarters_after_it(self, store: Store) -> None:
        change = datetime(2025, 9, 30, 22, tzinfo=UTC)
        store.write(spot([7.0], first=change - timedelta(hours=1), resolution_s=3600), run_id="a")
        store.write(spot([10.0, 20.0, 30.0, 40.0], first=change), run_id="a")
        found = store.read("spot_eur_mwh", places=["ES"], grid_s=3600, **EVER)
        assert found[["start", "value"]].to_numpy().tolist() == [
            [pd.Timestamp(change) - pd.Timedelta(hours=1), 7.0],
            [pd.Timestamp(change), 25.0],
        ]

    def test_an_hour_given_where_quarters_are_due_stands_for_those_that_lack(
        self, store: Store
    ) -> None:
        whole = {"first": DAY, "resolution_s": 3600, "source": "ree"}
        store.write(spot([20.0, 30.0, 40.0], **whole), run_id="a")
        store.write(spot([28.0], **{**whole, "first": DAY - timedelta(hours=1)}), run_id="a")
        store.write(spot([10.0, 20.0, 30.0, 41.0, 50.0]), run_id="a")
        window = {"places": ["ES"], **EVER}
        found = store.read("spot_eur_mwh", grid_s=3600, **window)
        assert found["value"].tolist() == [28.0, 25.25, 30.0, 40.0]
        assert found["source"].tolist() == ["ree", "omie", "ree", "ree"]
        assert found["start"].is_monotonic_increasing
        quarters = store.read("spot_eur_mwh", **window)
        assert quarters["value"].tolist() == [10.0, 20.0, 30.0, 41.0, 50.0]
        assert len(store.slots("spot_eur_mwh", **window)) == 5
        (first, *_) = store.read("spot_eur_mwh", raw=True, **window).iloc
        store.write_verdicts(verdict(first, "quarantined", RETRIEVED))
        found = store.read("spot_eur_mwh", grid_s=3600, **window)
        assert found["value"].tolist() == [25.25, 30.0, 40.0]

    def test_a_mean_says_the_latest_times_and_the_least_trusted_source(self, store: Store) -> None:
        store.write(spot([10.0, 20.0, 30.0]), run_id="a")
        store.write(spot([40.0], first=DAY + timedelta(minutes=45), source="esios"), run_id="b")
        store.write(spot([14.0]), run_id="c")
        (found,) = store.read("spot_eur_mwh", places=["ES"], grid_s=3600, **EVER).to_dict("records")
        assert (found["value"], found["source"], found["rev"]) == (26.0, "esios", 2)
        assert found["available_at"] == pd.Timestamp(RETRIEVED)

    def test_several_series_at_once(self, store: Store) -> None:
        store.write(
            concat(
                [spot([10.0, 20.0, 30.0, 40.0]), rows([5.0], "load_mw", place="ES", source="ree")]
            ),
            run_id="a",
        )
        found = store.read(["load_mw", "spot_eur_mwh"], places=["ES"], grid_s=3600, **EVER)
        assert found["value"].tolist() == [5.0, 25.0]

    def test_daily_values_never_fill_an_hourly_grid(self, store: Store) -> None:
        with pytest.raises(BadInput, match="3600 s"):
            store.read("temperature_mean_c", places=["J17"], grid_s=3600, **EVER)

    def test_a_grid_is_judged_by_the_cadence_of_the_window(self, store: Store) -> None:
        store.write(spot([10.0, 20.0]), run_id="a")
        window = {
            "places": ["ES"],
            "start": QUARTERS_SINCE,
            "end": QUARTERS_SINCE + timedelta(days=60),
        }
        assert (store.read("spot_eur_mwh", grid_s=900, **window)["resolution_s"] == 900).all()
        with pytest.raises(BadInput, match="comes every 3600 s"):
            store.read(
                "spot_eur_mwh",
                grid_s=900,
                **{**window, "start": QUARTERS_SINCE - timedelta(hours=1)},
            )


class TestVerdicts:
    def test_a_quarantined_value_gives_way_until_it_is_released(self, store: Store) -> None:
        store.write(concat([rows([1.0, 2.0]), rows([8.0], source="openweathermap")]), run_id="a")
        worst = store.read("temperature_c", places=["5279X"], **EVER).iloc[0]
        assert store.write_verdicts(verdict(worst, "quarantined", RETRIEVED)) == 1
        assert seen(store) == [8.0, 2.0]
        assert sorted(seen(store, raw=True)) == [1.0, 2.0, 8.0]
        assert len(store.slots("temperature_c", places=["5279X"], **EVER)) == 2
        store.write_verdicts(verdict(worst, "released", RETRIEVED + timedelta(hours=1)))
        assert seen(store) == [1.0, 2.0]

    def test_with_nothing_else_the_slot_is_absent(self, store: Store) -> None:
        store.write(rows([1.0, 2.0]), run_id="a")
        quarantine_first(store)
        assert seen(store) == [2.0]
        assert store.slots("temperature_c", places=["5279X"], **EVER).tolist() == [
            epoch(DAY) + 3600
        ]

    def test_a_quarantined_revision_leaves_the_one_before(self, store: Store) -> None:
        store.write(rows([1.0]), run_id="a")
        store.write(rows([2.0]), run_id="b")
        quarantine_first(store)
        assert seen(store) == [1.0]

    def test_are_kept_newest_first_and_written_once(self, store: Store) -> None:
        store.write(rows([1.0]), run_id="a")
        row = store.read("temperature_c", places=["5279X"], **EVER).iloc[0]
        first, last = (
            verdict(row, v, RETRIEVED + timedelta(hours=h))
            for v, h in (("quarantined", 0), ("released", 1))
        )
        assert [
            store.write_verdicts(one) for one in (first, last, first, pd.concat([last, last]))
        ] == [1, 1, 0, 0]
        found = store.read_verdicts(open_only=False)
        assert found["verdict"].tolist() == ["released", "quarantined"]
        pd.testing.assert_frame_equal(
            found.iloc[[1]].reset_index(drop=True), first, check_dtype=False
        )
        assert store.read_verdicts().empty

    def test_a_reason_of_several_lines_becomes_one(self, store: Store) -> None:
        given = verdict(rows([1.0]).assign(rev=1).iloc[0], "quarantined", RETRIEVED).assign(
            reason="two\n  lines"
        )
        store.write_verdicts(given)
        assert store.read_verdicts()["reason"].tolist() == ["two lines"]

    def test_only_quarantined_or_released(self, store: Store) -> None:
        with pytest.raises(BadInput, match="maybe"):
            store.write_verdicts(verdict(rows([1.0]).assign(rev=1).iloc[0], "maybe", RETRIEVED))


ISSUED = datetime(2026, 3, 2, 11, 0, 7, tzinfo=UTC)


def forecast(
    values: Sequence[float],
    *,
    issued_at: datetime = ISSUED,
    model: str = "day_ahead",
    spread: float = 5.0,
) -> pd.DataFrame:
    target = pd.date_range("2026-03-03", periods=len(values), freq="h", tz="UTC", unit="s")
    return pd.DataFrame(
        {
            "series": "spot_eur_mwh",
            "place": "ES",
            "model": model,
            "issued_at": pd.Timestamp(issued_at).as_unit("s"),
            "target_start": target,
            "resolution_s": 3600,
            "p10": np.array(values) - spread,
            "p50": values,
            "p90": np.array(values) + spread,
            "tier": "full",
        }
    )[list(FORECAST_COLUMNS)]


WINDOW = {"series": "spot_eur_mwh", "places": ["ES"], **EVER}


class TestForecasts:
    def test_come_back_as_they_were_written(self, store: Store) -> None:
        given = forecast([1.0, 2.0])
        given.loc[0, ["p10", "p90"]] = np.nan
        assert store.write_forecasts(given, run_id="a") == WriteResult(new=2)
        found = store.read_forecasts(**WINDOW)
        pd.testing.assert_frame_equal(found[list(FORECAST_COLUMNS)], given, check_dtype=False)
        assert found["available_at"].equals(found["issued_at"])
        assert found["run_id"].tolist() == ["a", "a"]

    def test_an_equal_one_is_unchanged_and_a_different_one_replaces(self, store: Store) -> None:
        store.write_forecasts(forecast([1.0, 2.0]), run_id="a")
        assert store.write_forecasts(forecast([1.0, 3.0]), run_id="b") == WriteResult(
            revised=1, unchanged=1
        )
        assert store.read_forecasts(**WINDOW)["p50"].tolist() == [1.0, 3.0]

    def test_the_last_issue_known_at_as_of(self, store: Store) -> None:
        later = ISSUED + timedelta(hours=1)
        store.write_forecasts(forecast([1.0, 2.0]), run_id="a")
        store.write_forecasts(forecast([7.0], issued_at=later), run_id="b")
        assert store.read_forecasts(**WINDOW)["p50"].tolist() == [7.0, 2.0]
        assert store.read_forecasts(**WINDOW, latest=False)["p50"].tolist() == [1.0, 7.0, 2.0]
        assert store.read_forecasts(**WINDOW, as_of=ISSUED)["p50"].tolist() == [1.0, 2.0]
        assert store.read_forecasts(**WINDOW, as_of=ISSUED - timedelta(seconds=1)).empty

    def test_models_are_kept_apart(self, store: Store) -> None:
        store.write_forecasts(
            pd.concat([forecast([1.0]), forecast([2.0], model="ree")]), run_id="a"
        )
        assert store.read_forecasts(**WINDOW)["model"].tolist() == ["day_ahead", "ree"]
        assert store.read_forecasts(**WINDOW, models=["ree"])["p50"].tolist() == [2.0]

    def test_the_window_is_one_of_targets(self, store: Store) -> None:
        store.write_forecasts(forecast([1.0, 2.0, 3.0]), run_id="a")
        start = datetime(2026, 3, 3, 1, tzinfo=UTC)
        chosen = {**WINDOW, "start": start, "end": start + timedelta(hours=1)}
        assert store.read_forecasts(**chosen)["p50"].tolist() == [2.0]

    def test_are_never_read_as_values(self, store: Store) -> None:
        store.write_forecasts(forecast([1.0]), run_id="a")
        assert store.read("spot_eur_mwh", places=["ES"], raw=True, **EVER).empty

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param(forecast([np.nan]), id="no-median"),
            pytest.param(
                forecast([1.0], issued_at=datetime(2026, 3, 3, 1, tzinfo=UTC)), id="slot-is-over"
            ),
            pytest.param(
                forecast([1.0], issued_at=datetime(2026, 1, 1, tzinfo=UTC)), id="too-far-ahead"
            ),
        ],
    )
    def test_impossible_ones_are_rejected_and_counted(
        self, store: Store, bad: pd.DataFrame
    ) -> None:
        assert store.write_forecasts(bad, run_id="a") == WriteResult(rejected=1)


class TestStamps:
    def test_simulated_and_real_data_do_not_mix(self, open_store: Open, backend: str) -> None:
        assert open_store(backend, world="simulated").origin == "simulated"
        with pytest.raises(OriginMismatch, match="holds simulated data, this profile is real"):
            open_store(backend, world="real")

    def test_looking_makes_and_stamps_nothing(
        self, open_store: Open, backend: str, tmp_path: Path
    ) -> None:
        looking = open_store(backend, world="simulated", lazy=True)
        assert seen(looking) == []
        assert looking.inventory().empty
        assert list(tmp_path.iterdir()) == []
        open_store(backend, world="real")
        with pytest.raises(OriginMismatch):
            looking.write(rows([1.0]), run_id="a")

    def test_the_first_write_makes_and_stamps_it(self, open_store: Open, backend: str) -> None:
        store = open_store(backend, lazy=True)
        assert store.write(rows([1.0]), run_id="a") == WriteResult(new=1)
        assert seen(store) == seen(open_store(backend)) == [1.0]
        with pytest.raises(OriginMismatch):
            open_store(backend, world="simulated")

    def test_another_schema_is_refused(
        self, open_store: Open, backend: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store(backend)
        monkeypatch.setattr(backend_module, "SCHEMA_VERSION", 99)
        with pytest.raises(SchemaMismatch, match="this version writes 99"):
            open_store(backend)

    def test_what_one_wrote_another_reads(self, open_store: Open, backend: str) -> None:
        open_store(backend).write(rows([1.0]), run_id="a")
        assert seen(open_store(backend)) == [1.0]


def filled(store: Store) -> Store:
    """Put something of everything into a store."""
    store.write(spot(np.linspace(-5, 90, 300).round(2).tolist()), run_id="a")
    store.write(spot([1.0, 2.0, 3.0]), run_id="b")
    store.write(concat([rows([1.0] * 50), rows([55.0] * 40, "humidity_pct")]), run_id="c")
    store.write(
        rows([2.0] * 9, kind="reanalysis", source="open_meteo", updated_at=RETRIEVED), run_id="c"
    )
    store.write(rows([3.0], kind="synthetic", source="a=b, c"), run_id="d")
    store.write_forecasts(forecast([1.0, 2.0]), run_id="e")
    quarantine_first(store)
    return store


class TestInventory:
    def test_counts_extent_and_content_of_each_line(self, store: Store) -> None:
        filled(store)
        found = store.inventory()
        assert (
            found["measurement"].tolist()
            == ["energy_prices", "forecasts", "verdicts"] + ["weather_data"] * 4
        )
        assert found["rows"].tolist() == [303, 2, 1, 40, 1, 50, 9]
        assert found["checksum"].is_unique
        assert found.loc[0, "last"] == pd.Timestamp(DAY) + pd.Timedelta(minutes=15 * 299)

    def test_the_sources_are_those_of_its_lines(self, store: Store) -> None:
        assert store.sources() == set()
        filled(store)
        assert store.sources() == set(store.inventory()["source"])

    def test_does_not_depend_on_the_order_of_writing(self, open_store: Open, backend: str) -> None:
        one, other = open_store(backend, "a"), open_store(backend, "b")
        one.write(rows([1.0, 2.0, 3.0]), run_id="a")
        for part in (rows([3.0], first=DAY + timedelta(hours=2)), rows([1.0, 2.0])):
            other.write(part, run_id="a")
        pd.testing.assert_frame_equal(one.inventory(), other.inventory())

    def test_tells_one_changed_column(self, open_store: Open, backend: str) -> None:
        sums = set()
        for number, given in enumerate(
            (rows([1.0]), rows([2.0]), rows([1.0], retrieved_at=DAY), rows([1.0], updated_at=DAY))
        ):
            store = open_store(backend, str(number))
            store.write(given, run_id="a")
            sums |= set(store.inventory()["checksum"])
        assert len(sums) == 4


WAYS = [
    ("sqlite", "sqlite"),
    ("sqlite", INFLUX),
    (INFLUX, "sqlite"),
    ("sqlite", "postgres"),
    ("postgres", "sqlite"),
]


@pytest.fixture(params=WAYS, ids="-to-".join)
def both(open_store: Open, request: pytest.FixtureRequest) -> tuple[Store, Store]:
    """Return a filled store and an empty one; one of both is SQLite."""
    source, target = request.param
    return filled(open_store(source, "source")), open_store(target, "target")


class TestCopy:
    def test_moves_everything_and_what_the_target_has_beside_it_stays(
        self, both: tuple[Store, Store]
    ) -> None:
        source, target = both
        report = copy(source, target)
        pd.testing.assert_frame_equal(target.inventory(), source.inventory())
        assert report["copied"].sum() == report["rows"].sum() == 406
        for raw in (True, False):
            window = {"places": ["5279X", "ES"], "raw": raw, **EVER}
            names = ["spot_eur_mwh", "temperature_c", "humidity_pct"]
            order = ["series", "start", "source", "kind", "rev"]
            views = [
                store.read(names, **window).sort_values(order, ignore_index=True) for store in both
            ]
            pd.testing.assert_frame_equal(*views)
        target.write(spot([77.0]), run_id="since")
        assert copy(source, target)["copied"].sum() == 0
        assert target.inventory()["rows"].sum() == 407

    def test_goes_on_where_it_was_interrupted_and_then_has_nothing_to_do(
        self, both: tuple[Store, Store]
    ) -> None:
        source, target = both
        part = source.backend.load(
            backend_module.Window(("spot_eur_mwh",), epoch(DAY), epoch(DAY) + 900 * 50, ("ES",))
        )
        target.backend.append(part)
        assert copy(source, target)["copied"].sum() == 406 - len(part)
        assert copy(source, target)["copied"].sum() == 0

    def test_refuses_a_target_with_a_history_of_its_own(self, both: tuple[Store, Store]) -> None:
        source, target = both
        target.write(spot([77.0]), run_id="z")
        with pytest.raises(StoreError, match="values of their own for spot_eur_mwh at ES"):
            copy(source, target)

    def test_what_comes_in_meanwhile_is_no_failure(
        self, both: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, target = both
        load = source.backend.load

        def written_to(*window: Any, **options: Any) -> Any:
            monkeypatch.undo()
            source.write(spot([77.0]), run_id="cron")
            return load(*window, **options)

        monkeypatch.setattr(source.backend, "load", written_to)
        copy(source, target)
        pd.testing.assert_frame_equal(target.inventory(), source.inventory())

    def test_a_country_of_stations_takes_few_queries(
        self, both: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, target = both
        places = [f"{number}X" for number in range(60)]
        source.write(concat([rows([20.0], place=place) for place in places]), run_id="a")
        counted = Mock(wraps=target.backend.load)
        monkeypatch.setattr(target.backend, "load", counted)
        assert copy(source, target)["copied"].sum() == 406 + len(places)
        assert counted.call_count < len(places) / 2

    def test_refuses_another_world(self, open_store: Open, backend: str) -> None:
        with pytest.raises(OriginMismatch):
            copy(open_store("sqlite", "source"), open_store(backend, "target", world="simulated"))


class TestDaylightSaving:
    @pytest.mark.parametrize(
        ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)], ids=["23-hours", "25-hours"]
    )
    def test_market_days_of_a_local_day_series(self, store: Store, day: str, hours: int) -> None:
        midnights = (
            pd.date_range(day, periods=3, freq="D", tz="Europe/Madrid")
            .tz_convert("UTC")
            .as_unit("s")
        )
        given = tidy(
            "gas_generation_mwh",
            midnights,
            [1.0, 2.0, 3.0],
            place="ES",
            source="ree",
            kind="observed",
            resolution_s=86400,
            retrieved_at=RETRIEVED,
        )
        assert store.write(given, run_id="a").new == 3
        slots = store.slots("gas_generation_mwh", places=["ES"], **EVER)
        assert np.diff(slots).tolist() == [hours * 3600, 86400]
        assert store.read("gas_generation_mwh", places=["ES"], **EVER)["value"].tolist() == [
            1.0,
            2.0,
            3.0,
        ]


def test_years_of_quarters_survive_batches_and_runs(store: Store) -> None:
    """More lines than one batch, several publication days, a hole filled later by another run."""
    values = np.random.default_rng(3).normal(50, 20, 60_000).round(2)
    whole = spot(values.tolist())
    hole = (np.arange(len(whole)) % 1000) == 37
    assert store.write(whole[~hole], run_id="a").new == len(whole) - hole.sum()
    assert store.write(whole, run_id="b") == WriteResult(
        new=hole.sum(), unchanged=len(whole) - hole.sum()
    )
    found = store.read("spot_eur_mwh", places=["ES"], **EVER)
    assert np.array_equal(found["value"], values)
    assert np.array_equal(found["run_id"] == "b", hole)
    admitted, _ = merge.admit(whole, "a", default_catalogue())
    assert np.array_equal(found["available_at"].astype("int64"), admitted["available_at"])
