"""Wire formats of the price providers, as the specification sheet has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from factory_lib.clock import epoch, parse_instant
from factory_sim.world import World

PRICES = "/ree/es/datos/mercados/precios-mercados-tiempo-real"
FILE = "/omie/es/file-download"
ARCHIVE = "/esios/archives/70/download_json"


def ree(bench: Any, first: str, last: str, **query: str) -> Any:
    return bench.json(
        PRICES, start_date=f"{first}T00:00", end_date=f"{last}T23:59", time_trunc="hour", **query
    )


def series(body: Any) -> dict[str, list[dict[str, Any]]]:
    return {item["id"]: item["attributes"]["values"] for item in body["included"]}


# -- apidatos --------------------------------------------------------------------------


def test_ree_answers_like_the_price_widget(bench: Any, world: World) -> None:
    body = ree(bench, "2026-04-10", "2026-04-10")
    assert body["data"]["id"] == "mer13"
    assert set(body["data"]) == {"type", "id", "attributes", "meta"}
    pvpc = body["included"][0]
    assert set(pvpc) == {"type", "id", "groupId", "attributes"}
    assert set(pvpc["attributes"]) == {
        "title",
        "description",
        "color",
        "icon",
        "type",
        "magnitude",
        "composite",
        "last-update",
        "values",
    }
    first = pvpc["attributes"]["values"][0]
    assert first["datetime"] == "2026-04-10T00:00:00.000+02:00"
    assert pvpc["attributes"]["last-update"] == "2026-04-09T20:46:00.000+02:00"
    starts, values = world.window(
        "pvpc_eur_mwh", parse_instant("2026-04-10"), parse_instant("2026-04-11")
    )
    assert [point["value"] for point in series(body)["1001"]] == values.tolist()
    assert len(series(body)["600"]) == 4 * len(starts)


@pytest.mark.parametrize(
    ("day", "quarters", "stamps"),
    [
        ("2026-03-29", 92, ["2026-03-29T01:45:00.000+01:00", "2026-03-29T03:00:00.000+02:00"]),
        ("2025-10-26", 100, ["2025-10-26T02:45:00.000+02:00", "2025-10-26T02:00:00.000+01:00"]),
        ("2026-04-10", 96, ["2026-04-10T01:45:00.000+02:00", "2026-04-10T02:00:00.000+02:00"]),
    ],
    ids=["spring", "autumn", "plain"],
)
def test_ree_stamps_clock_changes_with_offsets(
    bench: Any, day: str, quarters: int, stamps: list[str]
) -> None:
    found = series(ree(bench, day, day))
    assert len(found["600"]) == quarters
    assert len(found["1001"]) == quarters // 4
    printed = [point["datetime"] for point in found["600"]]
    assert printed[printed.index(stamps[0]) + 1] == stamps[1]


def test_ree_gives_hours_before_the_change_to_quarters(bench: Any) -> None:
    assert len(series(ree(bench, "2025-09-30", "2025-09-30"))["600"]) == 24


def test_ree_takes_the_end_as_inclusive(bench: Any) -> None:
    body = bench.json(
        PRICES, start_date="2025-09-01T00:00", end_date="2025-09-02T00:00", time_trunc="hour"
    )
    assert len(series(body)["1001"]) == 25


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ("2026-04-14T12:16:00Z", set()),
        ("2026-04-14T12:17:00Z", {"600"}),
        ("2026-04-14T18:45:00Z", {"600"}),
        ("2026-04-14T18:46:00Z", {"600", "1001"}),
    ],
    ids=["before", "spot", "before PVPC", "both"],
)
def test_ree_publishes_tomorrow_at_its_hours(bench: Any, now: str, found: set[str]) -> None:
    body = ree(bench.at(now), "2026-04-15", "2026-04-15")
    if found:
        assert set(series(body)) == found
    else:
        assert body["errors"][0]["detail"].startswith("Los datos solicitados no están disponibles")


@pytest.mark.parametrize(
    ("first", "last", "query", "status"),
    [
        ("2025-01-01", "2025-01-31", {}, 200),
        ("2025-01-01", "2025-02-01", {}, 400),
        ("2025-01-01", "2025-01-01", {"geo_limit": "canarias"}, 400),
        ("2025-01-01", "2025-01-01", {"geo_trunc": "electric_system"}, 400),
        ("2026-04-20", "2026-04-21", {}, 400),
        ("2021-05-01", "2021-05-02", {}, 200),
    ],
    ids=["month", "32 days", "Canaries", "geo_trunc alone", "future", "before 2.0TD"],
)
def test_ree_refuses_with_one_text(
    bench: Any, first: str, last: str, query: dict[str, str], status: int
) -> None:
    answer = bench.get(
        PRICES, start_date=f"{first}T00:00", end_date=f"{last}T23:59", time_trunc="hour", **query
    )
    assert answer.status == status
    assert answer.content_type == "application/json"


def test_ree_has_no_pvpc_before_the_tariff(bench: Any) -> None:
    assert set(series(ree(bench, "2021-05-30", "2021-05-31"))) == {"600"}


def test_ree_shows_a_page_for_what_does_not_exist(bench: Any) -> None:
    answer = bench.get(
        "/ree/es/datos/mercados/nada", start_date="2026-01-01T00:00", end_date="2026-01-01T23:59"
    )
    assert (answer.status, answer.content_type[:9]) == (500, "text/html")


def test_ree_prints_whole_numbers_bare_and_shares_of_the_instant(bench: Any) -> None:
    body = ree(bench, "2026-04-01", "2026-04-14")
    spot = series(body)["600"]
    whole = [point for point in spot if isinstance(point["value"], int)]
    assert whole
    assert {point["percentage"] for point in spot if point["value"] == 0} <= {0}
    on_the_hour = {point["datetime"]: point for point in spot}
    for point in series(body)["1001"][:48]:
        assert point["percentage"] + on_the_hour[point["datetime"]]["percentage"] == pytest.approx(
            1
        )


@pytest.mark.parametrize(
    ("quirk", "check"),
    [
        ("spot_missing", lambda b: set(series(b)) == {"1001"}),
        ("pvpc_missing", lambda b: set(series(b)) == {"600"}),
        ("old_words", lambda b: b["included"][0]["type"] == "PVPC (€/MWh)"),
        ("reversed", lambda b: b["included"][0]["id"] == "600"),
        ("all_zero", lambda b: {p["value"] for p in series(b)["600"]} == {0}),
        ("frozen", lambda b: len({p["value"] for p in series(b)["600"]}) == 1),
        ("out_of_range", lambda b: max(p["value"] for p in series(b)["600"]) == 99999),
        (
            "revised",
            lambda b: b["included"][1]["attributes"]["last-update"].startswith("2026-04-15T12:00"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ree_quirks(bench: Any, quirk: str, check: Any) -> None:
    plain = ree(bench, "2026-04-10", "2026-04-10")
    assert not check(plain)
    assert check(ree(bench.faults({"kind": quirk, "source": "ree"}), "2026-04-10", "2026-04-10"))


def test_ree_sums_of_quarters_and_doubled_october(bench: Any) -> None:
    plain = {
        p["datetime"]: p["value"] for p in series(ree(bench, "2024-10-27", "2024-10-27"))["600"]
    }
    bench.faults({"kind": "doubled_october", "source": "ree"})
    doubled = series(ree(bench, "2024-10-27", "2024-10-27"))["600"]
    twice = plain["2024-10-27T02:00:00.000+02:00"] + plain["2024-10-27T02:00:00.000+01:00"]
    assert len(doubled) == 24
    assert doubled[2]["value"] == pytest.approx(twice)
    bench.faults({"kind": "quarter_sums", "source": "ree"})
    summed = [point["value"] for point in series(ree(bench, "2024-10-27", "2024-10-27"))["600"]]
    assert summed == pytest.approx([4 * value for value in plain.values()])


def test_ree_publishes_late_when_told_to(bench: Any) -> None:
    bench.at("2026-04-14T12:30:00Z").faults({"kind": "late_publication", "source": "ree"})
    assert "errors" in ree(bench, "2026-04-15", "2026-04-15")
    assert "included" in ree(bench.at("2026-04-14T12:57:00Z"), "2026-04-15", "2026-04-15")


# -- OMIE ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "periods"),
    [
        ("20250930", 24),
        ("20251001", 96),
        ("20251026", 100),
        ("20260329", 92),
        ("20241027", 25),
        ("20240331", 23),
    ],
)
def test_omie_files_count_from_local_midnight(
    bench: Any, world: World, day: str, periods: int
) -> None:
    answer = bench.get(FILE, parents="marginalpdbc", filename=f"marginalpdbc_{day}.1")
    lines = answer.body.decode("ascii").split("\r\n")
    assert (lines[0], lines[-2], lines[-1]) == ("MARGINALPDBC;", "*", "")
    rows = [line.split(";") for line in lines[1:-2]]
    assert [int(row[3]) for row in rows] == list(range(1, periods + 1))
    assert all(len(row) == 7 and row[6] == "" for row in rows)
    start = parse_instant(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    step = 900 if periods > 25 else 3600
    truth = world.spot(epoch(start) + np.arange(periods) * step, step)
    assert [float(row[5]) for row in rows] == truth.tolist()
    assert [row[4] for row in rows] != [row[5] for row in rows]


@pytest.mark.parametrize(
    ("name", "now", "status"),
    [
        ("marginalpdbc_20260416.1", "2026-04-15T11:44:00Z", 404),
        ("marginalpdbc_20260416.1", "2026-04-15T11:45:00Z", 200),
        ("marginalpdbc_20260410.2", "2026-04-15T11:45:00Z", 404),
        ("marginalpdbc_20261301.1", "2026-04-15T11:45:00Z", 404),
        ("other_20260410.1", "2026-04-15T11:45:00Z", 404),
    ],
    ids=["too early", "published", "no second edition", "no such day", "no such file"],
)
def test_omie_has_a_file_or_not(bench: Any, name: str, now: str, status: int) -> None:
    assert bench.at(now).get(FILE, parents="marginalpdbc", filename=name).status == status


def test_omie_republishes_under_another_suffix(bench: Any) -> None:
    bench.faults({"kind": "republished", "source": "omie"})
    assert bench.get(FILE, parents="marginalpdbc", filename="marginalpdbc_20260410.1").status == 404
    assert bench.get(FILE, parents="marginalpdbc", filename="marginalpdbc_20260410.2").status == 200


# -- ESIOS -----------------------------------------------------------------------------


def esios(bench: Any, identity: int, first: str, last: str, **query: Any) -> Any:
    window = {"start_date": f"{first}T00:00", "end_date": f"{last}T23:59"}
    return bench.json(f"/esios/indicators/{identity}", {"x-api-key": "k"}, **window, **query)[
        "indicator"
    ]


def test_esios_needs_a_token(bench: Any) -> None:
    assert (
        bench.get("/esios/indicators/1001", start_date="2026-04-01", end_date="2026-04-02").status
        == 403
    )


def test_esios_mixes_five_systems(bench: Any, world: World) -> None:
    indicator = esios(bench, 1001, "2026-04-10", "2026-04-10")
    assert {row["geo_id"] for row in indicator["values"]} == {8741, 8742, 8743, 8744, 8745}
    orders = {
        tuple(row["geo_id"] for row in indicator["values"][n : n + 5]) for n in range(0, 120, 5)
    }
    assert len(orders) > 1
    mine = [row["value"] for row in indicator["values"] if row["geo_id"] == 8741]
    assert (
        mine
        == world.window("pvpc_eur_mwh", parse_instant("2026-04-10"), parse_instant("2026-04-11"))[
            1
        ].tolist()
    )


def test_esios_repeats_the_utc_of_the_repeated_hour(bench: Any) -> None:
    bench.faults({"kind": "utc_repeated", "source": "esios"})
    rows = esios(bench, 1001, "2025-10-26", "2025-10-26", **{"geo_ids[]": ["8741"]})["values"]
    assert [row["datetime_utc"] for row in rows[2:4]] == ["2025-10-26T00:00:00Z"] * 2
    assert [row["tz_time"] for row in rows[2:4]] == [
        "2025-10-26T00:00:00.000Z",
        "2025-10-26T01:00:00.000Z",
    ]


def test_esios_expands_old_hours_to_quarters(bench: Any) -> None:
    rows = esios(bench, 600, "2025-09-30", "2025-09-30", **{"geo_ids[]": ["3"]})["values"]
    assert len(rows) == 96
    assert len({row["value"] for row in rows[:4]}) == 1


def test_esios_has_an_empty_list_for_what_is_not_there(bench: Any) -> None:
    assert esios(bench, 1001, "2026-04-20", "2026-04-20")["values"] == []


@pytest.mark.parametrize(
    ("day", "labels"),
    [
        ("2026-03-29", ["00-01", "01-02", "03-04"]),
        ("2025-10-26", ["00-01", "01-02", "02-03"]),
    ],
    ids=["spring", "autumn"],
)
def test_esios_archive_labels(bench: Any, day: str, labels: list[str]) -> None:
    rows = bench.json(ARCHIVE, locale="es", date=day)["PVPC"]
    assert [row["Hora"] for row in rows[:3]] == labels
    assert rows[-1]["Hora"] == ("24-25" if day.startswith("2025") else "23-24")
    assert all("," in row["PCB"] for row in rows)


def test_esios_archive_before_publication_and_of_zeros(bench: Any) -> None:
    assert bench.json(ARCHIVE, date="2026-04-16") == {"message": "No values for specified archive"}
    bench.faults({"kind": "all_zero_day", "source": "esios"})
    assert {row["PCB"] for row in bench.json(ARCHIVE, date="2026-04-10")["PVPC"]} == {"0,00"}
