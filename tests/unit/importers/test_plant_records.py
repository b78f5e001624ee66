"""The plant's own records: meter and production."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

from factory_lib.catalogue import SITE
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers import import_path
from factory_lib.importers.formats import FORMATS
from factory_lib.pipeline.gaps import analyse

QUARTER = pd.Timedelta(minutes=15)


def meter(times: Any, *, column: str = "time_utc", kwh: float = 2.5) -> str:
    return "\n".join(
        [f"{column},energy_kwh", *(f"{time},{kwh + n}" for n, time in enumerate(times)), ""]
    )


def stored(ctx: RunContext, name: str) -> dict[str, float]:
    first, last = (
        pd.Timestamp(day, tz="UTC").to_pydatetime() for day in ("2025-01-01", "2027-01-01")
    )
    rows = ctx.store.read(name, places=(SITE,), start=first, end=last)
    return dict(zip(rows["start"].dt.strftime("%m-%dT%H:%MZ"), rows["value"], strict=True))


def bring(ctx: RunContext, tmp_path: Path, text: str, fmt: str | None = None) -> Any:
    file = tmp_path / "record.csv"
    file.write_text(text, encoding="utf-8")
    return import_path(ctx, file, format=fmt)


@pytest.mark.parametrize(
    ("minutes", "name"),
    [(15, "metered_quarter_kwh"), (60, "metered_hour_kwh")],
    ids=["quarters", "hours"],
)
def test_the_step_of_the_file_decides_about_the_meter(
    ctx: RunContext, tmp_path: Path, minutes: int, name: str
) -> None:
    times = [
        "2026-03-01T00:00:00Z",
        *(f"2026-03-01T0{n * minutes // 60}:{n * minutes % 60:02}:00Z" for n in (1, 2)),
    ]
    assert bring(ctx, tmp_path, meter(times)).summary.endswith(
        "3 values read, 3 new, 0 revised, 0 unchanged."
    )
    assert list(stored(ctx, name).values()) == [2.5, 3.5, 4.5]
    again = bring(ctx, tmp_path, meter(times))
    assert (again.metrics["new"], again.metrics["unchanged"]) == (0, 3)


def test_the_order_of_the_file_separates_the_repeated_hour(ctx: RunContext, tmp_path: Path) -> None:
    utc = pd.date_range("2025-10-25T23:30Z", "2025-10-26T02:15Z", freq=QUARTER)
    wall = utc.tz_convert("Europe/Madrid").strftime("%Y-%m-%d %H:%M")
    assert len(set(wall)) == len(wall) - 4
    result = bring(ctx, tmp_path, meter(wall, column="time_local"))
    assert result.status == "ok"
    assert list(stored(ctx, "metered_quarter_kwh")) == list(utc.strftime("%m-%dT%H:%MZ"))


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
def test_the_repeated_hour_may_run_either_way(
    ctx: RunContext, tmp_path: Path, newest_first: bool
) -> None:
    utc = pd.date_range("2025-10-25T22:00Z", "2025-10-26T03:00Z", freq="h")
    utc = utc[::-1] if newest_first else utc
    bring(
        ctx,
        tmp_path,
        meter(utc.tz_convert("Europe/Madrid").strftime("%Y-%m-%d %H:%M"), column="time_local"),
    )
    expected = dict(
        zip(utc.strftime("%m-%dT%H:%MZ"), [2.5 + n for n in range(len(utc))], strict=True)
    )
    assert stored(ctx, "metered_hour_kwh") == expected


def test_a_stray_line_makes_no_quarters_of_hours_and_is_rejected(
    ctx: RunContext, tmp_path: Path
) -> None:
    times = [*(f"2026-03-01T{hour:02}:00:00Z" for hour in range(24)), "2026-03-01T05:15:00Z"]
    result = bring(ctx, tmp_path, meter(times, kwh=40.0))
    assert list(result["rejected"]["line"]) == [26]
    assert "grid of 60 minutes" in result["rejected"]["reason"].iloc[0]
    assert (len(stored(ctx, "metered_hour_kwh")), stored(ctx, "metered_quarter_kwh")) == (24, {})


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        pytest.param(
            ["2025-10-26 01:45", "2025-10-26 02:00"],
            "happens twice",
            id="half of the repeated hour",
        ),
        pytest.param(
            ["2026-03-29 01:45", "2026-03-29 02:15"], "clocks go forward", id="the skipped hour"
        ),
        pytest.param(
            ["2026-03-01 01:45", "2026-03-01 02:00+01:00"],
            "call the column time_utc",
            id="an offset",
        ),
        pytest.param(["2026-03-01 01:45", "noon"], "not a local time", id="no time"),
        pytest.param(["2026-03-01 01:45", ""], "not a local time", id="nothing"),
    ],
)
def test_an_ambiguous_local_time_is_rejected_by_line(
    ctx: RunContext, tmp_path: Path, times: list[str], reason: str
) -> None:
    result = bring(
        ctx,
        tmp_path,
        meter(["2026-03-01 01:00", "2026-03-01 01:15", *times], column="time_local"),
    )
    (bad,) = result["rejected"].to_dict("records")
    assert bad["line"] == 5
    assert bad["text"] == times[1]
    assert reason in bad["reason"]
    assert result.metrics["new"] == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "time_utc,energy_kwh\n2026-03-01T00:00Z,1\n",
            "is unknown, with one line",
            id="one line",
        ),
        pytest.param(
            "time_utc,energy_kwh\n2026-03-01T00:00Z,1\n2026-03-01T00:30Z,1\n",
            "step is 30 minutes",
            id="half hours",
        ),
        pytest.param(
            "when,energy_kwh\n2026-03-01T00:00Z,1\n",
            "no known format. A table needs columns such as",
            id="no time",
        ),
        pytest.param("day,produced_kg\n2026-03-01,\n", "no day whose kilograms", id="no kilograms"),
    ],
)
def test_a_file_that_is_no_record_is_refused(
    ctx: RunContext, tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ImportFileError, match=problem):
        bring(ctx, tmp_path, text)


def test_negative_energy_is_rejected_with_its_line(ctx: RunContext, tmp_path: Path) -> None:
    result = bring(
        ctx, tmp_path, "time_utc,energy_kwh\n2026-03-01T00:00Z,-1\n2026-03-01T01:00Z,4\n"
    )
    assert list(result["rejected"]["reason"]) == ["outside 0 to 4e+06 kWh"]
    assert list(result["rejected"]["line"]) == [2]


def test_batches_are_summed_by_the_local_day_they_were_finished_on(
    ctx: RunContext, tmp_path: Path
) -> None:
    lines = [
        "2026-03-01 23:30,1,standard,100",
        "2026-03-02 00:10,2,standard,50",
        "2026-03-02 19:00,3,premium,200",
    ]
    result = bring(
        ctx, tmp_path, "\n".join(["finished_local,batch,variant,produced_kg", *lines, ""])
    )
    assert stored(ctx, "produced_kg") == {"02-28T23:00Z": 100.0, "03-01T23:00Z": 250.0}
    assert any("holds whole days" in note for note in result.notes)


def test_batches_that_end_in_the_repeated_hour_count_on_their_day(
    ctx: RunContext, tmp_path: Path
) -> None:
    lines = [f"2025-10-26 {clock},100" for clock in ("01:30", "02:10", "02:30", "02:50", "12:00")]
    result = bring(ctx, tmp_path, "\n".join(["finished_local,produced_kg", *lines, ""]))
    assert result.metrics["rejected"] == 0
    assert list(stored(ctx, "produced_kg").values()) == [500.0]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        pytest.param(
            "finished_local,produced_kg\n2026-03-01 23:30,100\n2026-03-02 00:10,50\n",
            "produced_kg",
            {"02-28T23:00Z": 100.0, "03-01T23:00Z": 50.0},
            id="local ends of batches",
        ),
        pytest.param(
            "finished_utc,produced_kg\n2026-03-01T23:30Z,100\n2026-03-02T00:10Z,50\n",
            "produced_kg",
            {"02-28T23:00Z": 100.0, "03-01T23:00Z": 50.0},
            id="ends of batches",
        ),
        pytest.param(
            meter(["2026-03-01 00:00", "2026-03-01 01:00"], column="time_local"),
            "metered_hour_kwh",
            {"03-01T00:00Z": 2.5, "03-01T01:00Z": 3.5},
            id="meter",
        ),
        pytest.param(
            "Fecha;Hora;Consumo_kWh\n" + "".join(f"01/03/2026;{n};{n}\n" for n in range(1, 25)),
            "metered_hour_kwh",
            {f"03-01T{n - 1:02}:00Z": float(n) for n in range(1, 25)},
            id="hours of a day",
        ),
    ],
)
def test_days_and_times_of_a_plant_are_those_of_its_zone(
    ctx: RunContext, tmp_path: Path, text: str, name: str, expected: dict[str, float]
) -> None:
    plant = structs.replace(ctx.settings.plant, time_zone="Europe/Lisbon")
    lisbon = replace(ctx, settings=structs.replace(ctx.settings, plant=plant))
    bring(lisbon, tmp_path, text)
    assert stored(lisbon, name) == expected


def test_a_day_with_an_unreadable_batch_has_no_sum(ctx: RunContext, tmp_path: Path) -> None:
    result = bring(
        ctx,
        tmp_path,
        "day,batch,produced_kg\n2026-03-02,1,100\n2026-03-02,2,?\n2026-03-03,3,90\n",
    )
    assert stored(ctx, "produced_kg") == {"03-02T23:00Z": 90.0}
    assert set(result["rejected"]["line"]) == {2, 3}


def test_a_batch_that_is_there_twice_counts_once(ctx: RunContext, tmp_path: Path) -> None:
    result = bring(ctx, tmp_path, "day,batch,produced_kg\n2026-03-02,1,100\n2026-03-02,1,100\n")
    assert stored(ctx, "produced_kg") == {"03-01T23:00Z": 100.0}
    assert list(result["rejected"]["reason"]) == ["this batch is there already"]


def test_a_corrected_day_is_a_revision(ctx: RunContext, tmp_path: Path) -> None:
    bring(ctx, tmp_path, "day,produced_kg\n2026-03-02,100\n")
    assert bring(ctx, tmp_path, "day,produced_kg\n2026-03-02,120\n").metrics["revised"] == 1
    assert stored(ctx, "produced_kg") == {"03-01T23:00Z": 120.0}


def test_records_are_never_missing(ctx: RunContext, tmp_path: Path) -> None:
    bring(ctx, tmp_path, "day,produced_kg\n2026-03-02,100\n")
    assert "produced_kg" not in set(analyse(ctx).accounting["series"])


def test_the_formats_can_be_named() -> None:
    assert {"meter", "production"} <= set(FORMATS)
