"""REE's price answers: identity by id, local days with clock changes, what is not a price."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import MADRID, day_bounds
from factory_lib.errors import BadRange, MalformedResponse, NoDataYet, ServerError
from factory_lib.http import Reply
from factory_lib.sources import ree
from factory_lib.sources.parsing import reject_outside

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
BOTH = ("spot_eur_mwh", "pvpc_eur_mwh")
TRY_LATER = (
    "Los datos solicitados no están disponibles en este momento. Inténtelo de nuevo más tarde."
)


def stamps(day: date, minutes: int) -> list[str]:
    """Return the wall times of a market day as the service prints them."""
    at, end = day_bounds(day)
    found = []
    while at < end:
        found.append(at.astimezone(MADRID).isoformat(timespec="milliseconds"))
        at += timedelta(minutes=minutes)
    return found


def serie(identity: str, times: list[str], values: list[Any], **attributes: Any) -> dict[str, Any]:
    points = [
        {"value": v, "percentage": 1, "datetime": t} for v, t in zip(values, times, strict=True)
    ]
    return {
        "type": "whatever",
        "id": identity,
        "attributes": {"title": "whatever", "values": points, **attributes},
    }


def body(*series: Any) -> bytes:
    return json.dumps({"data": {}, "included": list(series)}).encode()


@pytest.mark.parametrize(
    ("day", "minutes", "slots"),
    [
        pytest.param(date(2026, 3, 29), 15, 92, id="23-hour day in quarters"),
        pytest.param(date(2025, 10, 26), 15, 100, id="25-hour day in quarters"),
        pytest.param(date(2026, 1, 17), 15, 96, id="plain day in quarters"),
        pytest.param(date(2024, 3, 31), 60, 23, id="23-hour day"),
        pytest.param(date(2024, 10, 27), 60, 25, id="25-hour day"),
    ],
)
def test_a_market_day_has_all_its_slots_in_order(day: date, minutes: int, slots: int) -> None:
    times = stamps(day, minutes)
    parsed = ree.parse_prices(
        body(serie("600", times, [float(n) + 1 for n in range(len(times))])), BOTH, NOW
    )
    start, end = day_bounds(day)
    assert len(parsed.rows) == slots
    assert parsed.rows["start"].min() == start
    assert parsed.rows["start"].max() == end - timedelta(minutes=minutes)
    assert parsed.rows["start"].is_monotonic_increasing
    assert set(parsed.rows["resolution_s"]) == {60 * minutes}


def test_series_are_known_by_id_whatever_they_are_called() -> None:
    times = stamps(date(2024, 5, 1), 60)
    answer = body(
        serie("600", times, [10] * 24),
        serie("1001", times, [120.5] * 24),
        serie("999", times, [1] * 24),
    )
    rows = ree.parse_prices(answer, BOTH, NOW).rows
    assert rows.groupby("series")["value"].agg(["size", "mean"]).to_dict("index") == {
        "spot_eur_mwh": {"size": 24, "mean": 10.0},
        "pvpc_eur_mwh": {"size": 24, "mean": 120.5},
    }
    assert set(rows["source"]) == {"ree"}
    assert set(rows["place"]) == {"ES"}


def test_zero_negative_and_whole_numbers_are_prices() -> None:
    times = stamps(date(2024, 5, 1), 60)
    rows = ree.parse_prices(body(serie("600", times, [0, -15, 6, *[0.01] * 21])), BOTH, NOW).rows
    assert rows["value"].tolist()[:3] == [0.0, -15.0, 6.0]


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        pytest.param(
            "2026-03-24T10:00:00.000+01:00",
            datetime(2026, 3, 24, 9, tzinfo=UTC),
            id="a late revision",
        ),
        pytest.param("2036-03-24T10:00:00.000+01:00", None, id="an instant still to come"),
    ],
)
def test_the_providers_own_time_is_kept_if_it_can_be(said: str, believed: datetime | None) -> None:
    times = stamps(date(2025, 10, 25), 15)
    answer = body(serie("600", times, [5.0] * 96, **{"last-update": said}))
    updated = ree.parse_prices(answer, BOTH, NOW).rows["provider_updated_at"]
    assert updated.isna().all() if believed is None else (updated == believed).all()


@pytest.mark.parametrize(
    ("day", "minutes", "values", "reason"),
    [
        pytest.param(date(2024, 5, 1), 60, [0.0] * 24, "not published", id="a day of zeros"),
        pytest.param(date(2024, 5, 1), 15, [50.0] * 96, "grid", id="quarters where hours are due"),
    ],
)
def test_a_day_that_cannot_be_is_rejected_with_its_reason(
    day: date, minutes: int, values: list[float], reason: str
) -> None:
    parsed = ree.parse_prices(body(serie("600", stamps(day, minutes), values)), BOTH, NOW)
    assert parsed.rows.empty
    assert [reason in row.reason for row in parsed.rejected] == [True]


def test_hours_where_quarters_are_due_are_kept_as_hours() -> None:
    answer = body(serie("600", stamps(date(2026, 1, 17), 60), [50.0] * 24))
    parsed = ree.parse_prices(answer, BOTH, NOW)
    assert parsed.rows["resolution_s"].tolist() == [3600] * 24
    assert not parsed.rejected


def test_the_october_hour_given_once_is_a_sum_and_no_price() -> None:
    times = [t for t in stamps(date(2022, 10, 30), 60) if not t.endswith("02:00:00.000+01:00")]
    parsed = ree.parse_prices(body(serie("600", times, [100.0] * 24)), BOTH, NOW)
    assert len(parsed.rows) == 23
    assert datetime(2022, 10, 30, 0, tzinfo=UTC) not in set(parsed.rows["start"])
    assert "sum" in parsed.rejected[0].reason


def test_one_value_that_is_none_loses_only_itself() -> None:
    times = stamps(date(2024, 5, 1), 60)
    answer = body(serie("600", times, [None, "12", 99999.0, *[1.0] * 21]))
    parsed = reject_outside(ree.parse_prices(answer, BOTH, NOW), default_catalogue())
    assert len(parsed.rows) == 21
    assert len(parsed.rejected) == 2


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"not json", id="no JSON"),
        pytest.param(b'{"included": {}}', id="included is no list"),
        pytest.param(body({"id": "600"}), id="no attributes"),
        pytest.param(body(serie("600", ["2024-05-01T00:00:00.000"], [1])), id="no offset"),
        pytest.param(
            body(serie("600", ["2024-05-01T00:00:00.000+01:00"], [1])), id="not Madrid's offset"
        ),
        pytest.param(
            body(serie("600", ["2024-05-01T00:00:00.000+02:00"] * 2, [1, 2])), id="one time twice"
        ),
        pytest.param(
            body(serie("600", stamps(date(2024, 5, 1), 60)[::-1], [1] * 24)), id="backwards"
        ),
        pytest.param(b'{"included": [{"id": "600", "attributes": {"values": NaN}}]}', id="NaN"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_another_structure_is_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedResponse):
        ree.parse_prices(broken, BOTH, NOW)


def test_neither_series_in_the_answer_is_no_data_yet() -> None:
    with pytest.raises(NoDataYet):
        ree.parse_prices(body(serie("999", [], [])), BOTH, NOW)


@pytest.mark.parametrize(
    ("status", "content", "days", "error"),
    [
        pytest.param(400, TRY_LATER, 28, NoDataYet, id="in range: not published"),
        pytest.param(
            400,
            json.dumps({"errors": [{"detail": TRY_LATER}]}),
            28,
            NoDataYet,
            id="escaped accents",
        ),
        pytest.param(400, TRY_LATER, 32, BadRange, id="out of range: never"),
        pytest.param(
            403,
            "<html>Request unsuccessful. Incapsula incident ID: 1</html>",
            1,
            ServerError,
            id="firewall",
        ),
        pytest.param(200, "{}", 1, type(None), id="an answer"),
    ],
)
def test_the_one_text_for_all_refusals_is_told_apart_by_our_own_request(
    status: int, content: str, days: int, error: type
) -> None:
    reply = Reply(status, {"content-type": "application/json"}, content.encode())
    assert isinstance(ree.classify_response(reply, days), error)
