"""Files for other programs say units, sources and world themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.errors import BadInput
from factory_lib.frames import concat, tidy
from factory_lib.store.base import VIEW_COLUMNS, Store
from factory_lib.store.copying import export
from factory_lib.store.sqlite import SqliteBackend

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def view(tmp_path: Path) -> pd.DataFrame:
    store = Store(SqliteBackend(tmp_path / "store.db", "simulated"), default_catalogue())
    parts = [
        tidy(
            name,
            pd.date_range(START, periods=3, freq="h"),
            np.array([0.1, -2.5, 3.0]) + 10,
            place="5279X",
            source="aemet",
            kind="observed",
            resolution_s=3600,
            retrieved_at=END,
        )
        for name in ("temperature_c", "humidity_pct")
    ]
    store.write(concat(parts), run_id="a")
    try:
        return store.read(["temperature_c", "humidity_pct"], places=["5279X"], start=START, end=END)
    finally:
        store.close()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_row_has_its_unit_provenance_and_world(
    view: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / "out" / f"weather{suffix}"
    assert export(view, file, "simulated", default_catalogue()) == 6
    found = pd.read_csv(file) if suffix == ".csv" else pd.read_parquet(file)
    assert list(found) == [*VIEW_COLUMNS, "unit", "origin"]
    assert found["unit"].tolist() == ["°C"] * 3 + ["%"] * 3
    assert set(found["origin"]) == {"simulated"}
    assert found["value"].tolist() == view["value"].tolist()
    assert pd.to_datetime(found["start"], utc=True).tolist() == view["start"].tolist()
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_other_formats_are_refused(view: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"neither .csv nor .parquet"):
        export(view, tmp_path / "weather.xlsx", "real", default_catalogue())
