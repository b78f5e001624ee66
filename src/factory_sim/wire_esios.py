"""ESIOS: indicators behind a token, and the public archive of PVPC with decimal commas."""

import re
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from factory_lib.catalogue import DayAhead
from factory_lib.clock import (
    HOUR_S,
    MADRID,
    QUARTER_S,
    day_bounds,
    epoch,
    from_epoch,
    local_instant,
    market_day,
    require_utc,
)
from factory_lib.slots import expected, resolutions, to_index
from factory_sim import SERIES
from factory_sim.exchange import HTML, Answer, Ask, Provider, as_json, number
from factory_sim.market import pvpc_adder_eur_mwh
from factory_sim.noise import Floats, Ints
from factory_sim.wire_ree import INCAPSULA, PUBLISHED, wall_time

SYSTEMS = {8741: "Península", 8742: "Canarias", 8743: "Baleares", 8744: "Ceuta", 8745: "Melilla"}
NEIGHBOURS = {3: "España", 1: "Portugal", 2: "Francia"}
_INDICATORS: dict[int, tuple[str, str, dict[int, str]]] = {
    1001: ("pvpc_eur_mwh", "Término de facturación de energía activa del PVPC 2.0TD", SYSTEMS),
    600: ("spot_eur_mwh", "Precio mercado SPOT Diario", NEIGHBOURS),
    460: ("load_mw", "Previsión semanal de la demanda", {8741: "Península"}),
    544: ("load_mw", "Demanda prevista", {8741: "Península"}),
    1293: ("load_mw", "Demanda real", {8741: "Península"}),
    1775: ("es_load_forecast_mw", "Previsión diaria D+1 demanda", {8741: "Península"}),
    1777: ("es_wind_forecast_mw", "Previsión diaria D+1 eólica", {8741: "Península"}),
    1779: ("es_solar_forecast_mw", "Previsión diaria D+1 fotovoltaica", {8741: "Península"}),
}
_FORECASTS = (460, 544, 1775, 1777, 1779)
_WEEK = timedelta(days=6)  # beyond tomorrow
_FORECAST_AT = time(11)  # the day before

QUIRKS = {
    "bad_token": "403, as for a missing token",
    "no_values": "an empty list of values",
    "all_zero_day": "the archive's day is 24 times 0,00",
    "utc_repeated": "datetime_utc of October's second 02:00 repeats the first, as the service does",
    "bare_content_type": "the content type is the bare word json",
}


FORBIDDEN = as_json({"Status": 403, "message": "Forbidden"}, 403)


def answer(ask: Ask) -> Answer:
    """Return what ``/indicators/{id}`` and ``/archives/70/download_json`` answer."""
    if ask.path == "/archives/70/download_json":
        return _archive(ask)
    if (
        not (ask.headers.get("x-api-key") or ask.headers.get("authorization"))
        or "bad_token" in ask.quirks
    ):
        return FORBIDDEN
    match = re.fullmatch(r"/indicators/(\d+)", ask.path)
    if not match or int(match[1]) not in _INDICATORS:
        return as_json({"status": "404", "message": "Not Found"}, 404)
    try:
        start = _instant(ask.get("start_date"))
        end = _instant(ask.get("end_date"))
    except ValueError:
        return as_json({"errors": [{"code": "400", "message": "Invalid date"}]}, 400)
    reply = as_json({"indicator": _indicator(ask, int(match[1]), start, end)})
    return Answer(200, reply.body, "json") if "bare_content_type" in ask.quirks else reply


def _instant(text: str) -> datetime:
    """Read local wall time unless an offset is given; ends are inclusive."""
    instant = datetime.fromisoformat(text)
    return require_utc(instant if instant.tzinfo else instant.replace(tzinfo=MADRID))


def _indicator(ask: Ask, identity: int, start: datetime, end: datetime) -> dict[str, Any]:
    name, title, places = _INDICATORS[identity]
    starts, values = _known(ask, identity, start, end + timedelta(seconds=1))
    requested = set(map(int, ask.query.get("geo_ids[]", []))) or set(places)
    rows = []
    for position, (at, value) in enumerate(zip(starts.tolist(), values.tolist(), strict=True)):
        # The order of places inside an hour is not stable.
        for geo in sorted(set(places) & requested, key=lambda g: (g * 7 + position) % 5):
            rows.append(
                _row(
                    at,
                    value if geo in (3, 8741) else round(value * 1.01 + 0.1, 2),
                    geo,
                    places[geo],
                )
            )
    if "utc_repeated" in ask.quirks:
        _repeat_utc(rows)
    updated = local_instant(
        market_day(end) - timedelta(days=1), PUBLISHED.get(name, PUBLISHED["spot_eur_mwh"])
    )
    return {
        "name": title,
        "short_name": title,
        "id": identity,
        "composited": False,
        "step_type": "linear",
        "disaggregated": True,
        "magnitud": [
            {"name": "Precio", "id": 23} if name in PUBLISHED else {"name": "Potencia", "id": 20}
        ],
        "tiempo": [{"name": "Hora", "id": 4}],
        "geos": [{"geo_id": geo, "geo_name": places[geo]} for geo in places if geo in requested],
        "values_updated_at": wall_time(epoch(updated)),
        "values": rows,
    }


def _known(ask: Ask, identity: int, start: datetime, end: datetime) -> tuple[Ints, Floats]:
    if "no_values" in ask.quirks:
        return np.empty(0, dtype=np.int64), np.empty(0)
    name = _INDICATORS[identity][0]
    if name in PUBLISHED:
        known_until = DayAhead(PUBLISHED[name]).known_until(ask.now)
    else:
        known_until = (
            DayAhead(_FORECAST_AT).known_until(ask.now) if identity in _FORECASTS else ask.now
        )
        known_until += _WEEK if identity == 460 else timedelta()
    starts = expected(SERIES[name], start, min(end, known_until))
    starts = starts[ask.holes.delivered(ask.source, name, starts)]
    if identity == 600:
        return _in_quarters(ask, starts)
    return starts, ask.world.forecast_mw(
        name, starts
    ) if identity in _FORECASTS else ask.world.values(name, starts)


def _in_quarters(ask: Ask, starts: Ints) -> tuple[Ints, Floats]:
    """Return the spot price as this service does: in quarters, also of the time of hours."""
    hours = resolutions(SERIES["spot_eur_mwh"], starts) == HOUR_S
    values = ask.world.values("spot_eur_mwh", starts)
    quarters = (starts[hours][:, None] + np.arange(4) * QUARTER_S).ravel()
    return np.append(quarters, starts[~hours]), np.append(
        np.repeat(values[hours], 4), values[~hours]
    )


def _row(at: int, value: float, geo: int, place: str) -> dict[str, Any]:
    utc = from_epoch(at)
    return {
        "value": number(value),
        "datetime": wall_time(at),
        "datetime_utc": f"{utc:%Y-%m-%dT%H:%M:%SZ}",
        "tz_time": f"{utc:%Y-%m-%dT%H:%M:%S}.000Z",
        "geo_id": geo,
        "geo_name": place,
    }


def _repeat_utc(rows: list[dict[str, Any]]) -> None:
    first: dict[tuple[str, int], str] = {}
    for row in rows:
        row["datetime_utc"] = first.setdefault(
            (row["datetime"][:19], row["geo_id"]), row["datetime_utc"]
        )


def _archive(ask: Ask) -> Answer:
    """Return a day of PVPC: labels count elapsed hours, except that the short day skips 02-03."""
    try:
        start, end = day_bounds(date.fromisoformat(ask.get("date")))
    except ValueError:
        return as_json({"message": "Invalid date"}, 400)
    starts, total = _known(ask, 1001, start, end)
    if len(starts) < (end - start) // timedelta(hours=1):  # a day is whole or not there
        return as_json({"message": "No values for specified archive"})
    spot = ask.world.spot(starts, HOUR_S)
    toll = pvpc_adder_eur_mwh(starts)
    parts = {"PMH": spot, "TEU": toll, "SAH": total - spot - toll}
    if "all_zero_day" in ask.quirks:
        total = np.zeros(len(starts))
        parts = dict.fromkeys(parts, total)
    elapsed = (starts - epoch(start)) // HOUR_S
    if end - start == timedelta(hours=23):
        elapsed = to_index(starts).tz_convert(MADRID).hour.to_numpy().astype(np.int64)
    rows = []
    for position, hour in enumerate(elapsed.tolist()):
        label = f"{hour:02d}-{hour + 1:02d}"
        components = {
            f"{key}{zone}": _comma(part[position])
            for key, part in parts.items()
            for zone in ("PCB", "CYM")
        }
        price = _comma(total[position])
        rows.append(
            {
                "Dia": f"{start.astimezone(MADRID):%d/%m/%Y}",
                "Hora": label,
                "PCB": price,
                "CYM": price,
                "COF2TD": "0,000069120675000000",
                **components,
            }
        )
    return as_json({"PVPC": rows})


def _comma(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace(".", ",")


PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "forbidden": (INCAPSULA,),
        "unauthorised": (as_json({"status": "401", "message": "HTTP Token: Access denied."}, 401),),
        "server_error": (Answer(504, b"<html><body>504 Gateway Time-out</body></html>", HTML),),
    },
)
