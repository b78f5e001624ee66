"""SIAR: the interface behind a token, which refuses with 403, and the site's UTF-16LE export."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from factory_lib.clock import DAY_S, day_start, epoch, from_epoch
from factory_sim.exchange import Answer, Ask, Provider, as_json
from factory_sim.noise import Ints

# Station, first and last day of its record.
STATIONS = {
    "J09": (date(2000, 8, 1), date(2017, 12, 31)),
    "J17": (date(2018, 6, 13), date(2025, 11, 11)),
    "J05": (date(2001, 1, 1), date.max),
}
DELAY = timedelta(days=1)
_HEADER = (
    "IdProvincia;IdEstacion;Fecha;Año;Dia;"
    "Temp Media (ºC);Temp Max (ºC);Hora Temp Max;Temp Mínima (ºC);Hora Temp Min;"
    "Humedad Media (%);Humedad Max (%);Hora Hum Max;Humedad Min (%);Hora Hum Mín;"
    "Velviento (m/s);DirViento (º);VelVientoMax (m/s);Hora VelMax;Dir viento Vel Max (º);"
    "Radiación (MJ/m2);Precipitación (mm);PePMon;EtPMon"
)
_FIELDS = {
    "TempMedia": "temperature_mean_c",
    "TempMax": "temperature_max_c",
    "TempMin": "temperature_min_c",
    "HumedadMedia": "humidity_mean_pct",
    "HumedadMax": "humidity_max_pct",
    "humedadMin": "humidity_min_pct",
    "VelViento": "wind_speed_mean_ms",
    "Radiacion": "solar_radiation_mj_m2",
    "Precipitacion": "precipitation_sum_mm",
}

QUIRKS = {
    "own_numbers": "records carry numbers of the service's own as IdProvincia and IdEstacion",
    "bad_token": "403: the token is refused",
    "before_minimum": "403: the first date lies before the token's own minimum",
    "requests_per_minute": "403: too many requests in a minute",
    "records_per_minute": "403: the records of this minute would exceed the quota",
    "records_per_day": "403: the records of this day would exceed the quota",
    "message_in_200": "a message and no data under 200",
    "manual_spelling": "HumedadMin as in the manual, instead of humedadMin",
    "empty_rows": "the export has one day in twenty without values",
    "absent_days": "one day in twenty is not there at all",
}
_MESSAGES = {
    "bad_token": "El token no es válido.",
    "before_minimum": "La fecha inicial es anterior a la Fecha Mínima permitida para su token.",
    "requests_per_minute": "Ha superado el número de peticiones permitidas en un minuto.",
    "records_per_minute": "La petición rebasaría el número máximo de datos permitidos "
    "en un minuto.",
    "records_per_day": "La petición rebasaría el número máximo de datos permitidos en un día.",
}


def answer(ask: Ask) -> Answer:
    """Return what the interface (``/API/V1/…``) and the export page answer."""
    path = ask.path.removeprefix("/siarapi")
    if path.startswith("/API/V1/Autenticacion/"):
        return Answer(200, b"c2ltdWxhdGVkLXRva2Vu", "text/plain;charset=utf-8")
    if path == "/websiar/export.csv":
        return Answer(200, export(ask, *_window(ask)), "text/csv")
    if refusal := _refusal(ask):
        return refusal
    if path == "/API/V1/Info/ESTACIONES":
        return as_json({"datos": _stations(ask), "MensajeRespuesta": None})
    if path != "/API/V1/Datos/Diarios/ESTACION":
        return Answer(404, b"", "text/plain")
    try:
        days = _window(ask)
    except ValueError:
        return _message(403, "El formato de las fechas no es válido.")
    rows = [row for station in ask.query.get("Id", []) for row in _rows(ask, station, *days)]
    return as_json({"datos": rows, "MensajeRespuesta": None})


def _stations(ask: Ask) -> list[dict[str, Any]]:
    """Return the list of stations; administrative dates are printed without a zone."""
    return [
        {
            "Estacion": code,
            "Codigo": code,
            "Fecha_Instalacion": f"{first}T00:00:00",
            "Fecha_Baja": f"{last}T00:00:00" if last <= ask.now.date() else None,
            "IdProvincia": 23,
        }
        for code, (first, last) in STATIONS.items()
    ]


def _refusal(ask: Ask) -> Answer | None:
    for quirk, message in _MESSAGES.items():
        if quirk in ask.quirks or (quirk == "bad_token" and not ask.get("token")):
            return _message(403, message)
    return _message(200, "No se han encontrado datos.") if "message_in_200" in ask.quirks else None


def _window(ask: Ask) -> tuple[date, date]:
    return date.fromisoformat(ask.get("FechaInicial")), date.fromisoformat(ask.get("FechaFinal"))


def _days(ask: Ask, station: str, first: date, last: date) -> Ints:
    """Return the UTC days that the station reports and the clock allows."""
    opened, closed = STATIONS.get(station, (date.max, date.min))
    first = max(first, opened)
    last = min(last, closed, (ask.now - DELAY).date())
    days = (
        np.arange(_midnight(first), _midnight(last) + 1, DAY_S)
        if first <= last
        else np.empty(0, dtype=np.int64)
    )
    days = days[ask.holes.delivered(ask.source, "temperature_mean_c", days)]
    return (
        days[ask.world.noise.uniform("absent", days // DAY_S) >= 0.05]
        if "absent_days" in ask.quirks
        else days
    )


def _midnight(day: date) -> int:
    return epoch(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _rows(ask: Ask, station: str, first: date, last: date) -> list[dict[str, Any]]:
    """Return records; the date is a local midnight printed in UTC without saying so."""
    days = _days(ask, station, first, last)
    values = {field: ask.world.climate.daily(name, days) for field, name in _FIELDS.items()}
    if "manual_spelling" in ask.quirks:
        values["HumedadMin"] = values.pop("humedadMin")
    columns = [np.round(column, 2).tolist() for column in values.values()]
    return [
        {
            "Fecha": f"{day_start(from_epoch(day).date()):%Y-%m-%dT%H:%M:%S}",
            "Estacion": station,
            **dict(zip(values, row, strict=True)),
            "HorMinTempMax": 1450,
            "HorMinTempMin": 610,
            "DirViento": 240.0,
            **({"IdProvincia": "23", "IdEstacion": "1170"} if "own_numbers" in ask.quirks else {}),
        }
        for day, *row in zip(days.tolist(), *columns, strict=True)
    ]


def export(ask: Ask, first: date, last: date) -> bytes:
    """Return the web site's CSV: UTF-16LE without a mark, CRLF, semicolons, decimal commas."""
    station = ask.get("Id", "J17")
    days = _days(ask, station, first, last)
    columns = {field: ask.world.climate.daily(name, days) for field, name in _FIELDS.items()}
    empty = ask.world.noise.uniform("empty", days // DAY_S) < (
        0.05 if "empty_rows" in ask.quirks else 0.0
    )
    lines = [_HEADER]
    for position, day in enumerate(days.tolist()):
        at = from_epoch(day)
        identity = f"23;{int(station[1:])};{at:%d/%m/%Y};{at.year};{at.timetuple().tm_yday}"
        v = {field: _comma(column[position]) for field, column in columns.items()}
        measured = (
            v["TempMedia"],
            v["TempMax"],
            "14:50",
            v["TempMin"],
            "06:10",
            v["HumedadMedia"],
            v["HumedadMax"],
            "06:30",
            v["humedadMin"],
            "15:10",
            v["VelViento"],
            "240,0",
            v["VelViento"],
            "16:00",
            "240,0",
            v["Radiacion"],
            v["Precipitacion"],
            "0,00",
            "3,10",
        )
        lines.append(";".join([identity, *([""] * len(measured) if empty[position] else measured)]))
    return "".join(f"{line}\r\n" for line in lines).encode("utf-16-le")


def _comma(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace(".", ",")


def _message(status: int, text: str) -> Answer:
    return as_json({"datos": None, "MensajeRespuesta": text}, status)


PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "too_many": (_message(403, _MESSAGES["requests_per_minute"]),),
        "unauthorised": (_message(403, _MESSAGES["bad_token"]),),
        "forbidden": tuple(_message(403, text) for text in _MESSAGES.values()),
    },
)
