"""OMIE's daily files and ESIOS's archive and indicators: slots counted from local midnight."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_lib.clock import MADRID, day_bounds, slots_in_day
from factory_lib.errors import BadRange, MalformedResponse, NoDataYet, ServerError
from factory_lib.http import Reply
from factory_lib.sources import esios, omie

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


def file(day: date, periods: list[int], *, end: str = "*") -> str:
    rows = [f"{day:%Y;%m;%d};{n};{n + 0.5};{n};" for n in periods]
    return "\r\n".join(["MARGINALPDBC;", *rows, end, ""])


@pytest.mark.parametrize(
    ("day", "periods", "step_s"),
    [
        pytest.param(date(2025, 9, 30), 24, 3600, id="last day in hours"),
        pytest.param(date(2025, 10, 1), 96, 900, id="first day in quarters"),
        pytest.param(date(2024, 3, 31), 23, 3600, id="23 hours"),
        pytest.param(date(2024, 10, 27), 25, 3600, id="25 hours"),
        pytest.param(date(2026, 3, 29), 92, 900, id="92 quarters"),
        pytest.param(date(2025, 10, 26), 100, 900, id="100 quarters"),
    ],
)
def test_period_n_is_the_nth_slot_since_local_midnight_and_column_6_is_spain(
    day: date, periods: int, step_s: int
) -> None:
    rows = omie.parse_marginalpdbc(file(day, list(range(1, periods + 1))), NOW).rows
    start, end = day_bounds(day)
    assert rows["value"].tolist() == [float(n) for n in range(1, periods + 1)]
    assert rows["start"].iloc[0] == start
    assert rows["start"].iloc[-1] == end - timedelta(seconds=step_s)
    assert set(rows["resolution_s"]) == {step_s}


def test_portugal_has_the_other_column() -> None:
    rows = omie.parse_marginalpdbc(file(date(2024, 4, 1), [1, 2]), NOW, area="PT").rows
    assert rows["value"].tolist() == [1.5, 2.5]
    assert set(rows["place"]) == {"PT"}


def test_a_file_with_holes_gives_what_it_has_at_its_place() -> None:
    rows = omie.parse_marginalpdbc(file(date(2025, 10, 1), [1, 2, 96]), NOW).rows
    start, end = day_bounds(date(2025, 10, 1))
    assert rows["start"].tolist() == [
        start,
        start + timedelta(minutes=15),
        end - timedelta(minutes=15),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<html></html>", id="a page"),
        pytest.param(file(date(2025, 10, 1), list(range(1, 65)), end=""), id="cut off"),
        pytest.param(
            file(date(2025, 10, 1), list(range(1, 25))), id="hours where quarters are due"
        ),
        pytest.param(file(date(2024, 3, 31), list(range(1, 25))), id="24 hours on the short day"),
        pytest.param(file(date(2025, 9, 30), [1, 2, 2]), id="a period twice"),
        pytest.param(file(date(2025, 9, 30), [2, 1]), id="out of order"),
        pytest.param(file(date(2025, 9, 30), [1]).replace("2025;09;30", "2025;02;30"), id="no day"),
        pytest.param(file(date(2025, 9, 30), [1, 2]).replace("30;2;", "29;2;"), id="two days"),
        pytest.param(
            file(date(2025, 9, 30), [1]).replace(";1;1.5;1;", ";1;1.5;1,0;"), id="a comma"
        ),
    ],
)
def test_another_file_is_malformed(text: str) -> None:
    with pytest.raises(MalformedResponse):
        omie.parse_marginalpdbc(text, NOW)


def test_a_file_of_another_day_is_not_taken_for_the_one_asked_for() -> None:
    with pytest.raises(BadRange):
        omie.parse_marginalpdbc(file(date(2025, 9, 30), [1]), NOW, day=date(2025, 9, 29))


def test_the_real_daily_files_parse_whole(real_data: Path) -> None:
    with tarfile.open(real_data / "omie_marginalpdbc_fixtures.tar.gz") as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        assert members
        for member in members:
            day = (
                datetime.strptime(member.name.split("_")[-1][:8], "%Y%m%d")
                .replace(tzinfo=UTC)
                .date()
            )
            content = archive.extractfile(member)
            assert content is not None
            parsed = omie.parse_marginalpdbc(content.read(), NOW, day=day)
            step = int(parsed.rows["resolution_s"].iloc[0])
            assert len(parsed.rows) == slots_in_day(day, step)
            assert not parsed.rejected


# -- ESIOS -----------------------------------------------------------------------------


def archive(day: date, labels: list[str], price: str = "109,55") -> bytes:
    return json.dumps(
        {"PVPC": [{"Dia": f"{day:%d/%m/%Y}", "Hora": label, "PCB": price} for label in labels]}
    ).encode()


LONG = [f"{n:02d}-{n + 1:02d}" for n in range(25)]
SHORT = [f"{n:02d}-{n + 1:02d}" for n in range(24) if n != 2]


@pytest.mark.parametrize(
    ("day", "labels"),
    [
        pytest.param(date(2021, 10, 31), LONG, id="25 hours: 24-25"),
        pytest.param(date(2022, 3, 27), SHORT, id="23 hours: no 02-03"),
        pytest.param(date(2022, 6, 1), LONG[:24], id="24 hours"),
    ],
)
def test_archive_rows_are_elapsed_hours(day: date, labels: list[str]) -> None:
    rows = esios.parse_archive_70(archive(day, labels), NOW, day=day).rows
    start, end = day_bounds(day)
    assert rows["start"].tolist() == [
        start + timedelta(hours=n) for n in range((end - start) // timedelta(hours=1))
    ]
    assert set(rows["value"]) == {109.55}


def test_an_hour_missing_in_the_archive_moves_no_other() -> None:
    rows = esios.parse_archive_70(archive(date(2022, 3, 27), SHORT[:1] + SHORT[2:]), NOW).rows
    start = day_bounds(date(2022, 3, 27))[0]
    assert rows["start"].tolist()[:2] == [start, start + timedelta(hours=2)]


def test_an_archive_day_not_published_is_no_data_or_no_row() -> None:
    with pytest.raises(NoDataYet):
        esios.parse_archive_70(b'{"message":"No values for specified archive"}', NOW)
    zeros = esios.parse_archive_70(archive(date(2022, 6, 1), LONG[:24], "0,00"), NOW)
    assert zeros.rows.empty
    assert "zero" in zeros.rejected[0].reason


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(archive(date(2022, 6, 1), LONG), id="25 hours on a plain day"),
        pytest.param(archive(date(2022, 6, 1), LONG[:24][::-1]), id="backwards"),
        pytest.param(archive(date(2022, 6, 1), ["00-01"], "1.5"), id="decimal point"),
        pytest.param(archive(date(2021, 5, 31), LONG[:24]), id="before the tariff"),
    ],
)
def test_another_archive_is_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedResponse):
        esios.parse_archive_70(broken, NOW)


def indicator(identity: int, points: list[tuple[datetime, float, int]]) -> bytes:
    values = [
        {
            "value": value,
            "datetime": at.astimezone(MADRID).isoformat(timespec="milliseconds"),
            # the server's own defect: repeated on the long day
            "datetime_utc": "2021-10-31T00:00:00Z",
            "geo_id": geo,
        }
        for at, value, geo in points
    ]
    return json.dumps({"indicator": {"id": identity, "values": values}}).encode()


def test_an_indicator_is_keyed_by_datetime_and_geography() -> None:
    start, _ = day_bounds(date(2021, 10, 31))
    hours = [start + timedelta(hours=n) for n in range(25)]
    points = [(at, 100.0 + n, geo) for n, at in enumerate(hours) for geo in (8742, 8741, 8745)]
    rows = esios.parse_indicator(indicator(1001, points), "pvpc_eur_mwh", NOW).rows
    assert rows["start"].tolist() == hours
    assert rows["value"].tolist() == [100.0 + n for n in range(25)]


@pytest.mark.parametrize(
    ("day", "slots"),
    [
        pytest.param(date(2025, 9, 30), 24, id="hours"),
        pytest.param(date(2025, 10, 1), 96, id="quarters"),
    ],
)
def test_old_days_expanded_into_quarters_are_hours_again(day: date, slots: int) -> None:
    start, _ = day_bounds(day)
    points = [(start + timedelta(minutes=15 * n), float(n // 4), 3) for n in range(96)]
    rows = esios.parse_indicator(indicator(600, points), "spot_eur_mwh", NOW).rows
    assert len(rows) == slots
    assert rows["value"].sum() == slots / 24 * sum(range(24))


def test_an_empty_indicator_is_no_data_yet() -> None:
    with pytest.raises(NoDataYet):
        esios.parse_indicator(indicator(600, []), "spot_eur_mwh", NOW)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(
            Reply(403, {}, b"<html>Incapsula</html>"), ServerError, id="403 is a passing mood"
        ),
        pytest.param(Reply(200, {}, b"PK\x03\x04rest"), ServerError, id="a ZIP once"),
        pytest.param(
            Reply(200, {"content-type": "json"}, b"{}"), type(None), id="bare content type"
        ),
    ],
)
def test_what_an_esios_reply_means(reply: Reply, error: Any) -> None:
    assert isinstance(esios.classify_response(reply), error)
