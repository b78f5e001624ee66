"""REE apidatos: the price widget, and the two others the catalogue uses.

Wall time of Madrid, both ends inclusive, at most a calendar month at a time; one text
for every refusal.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np

from factory_lib.catalogue import DayAhead
from factory_lib.clock import (
    HOUR_S,
    MADRID,
    day_start,
    epoch,
    from_epoch,
    local_instant,
    market_day,
)
from factory_lib.slots import expected, to_index
from factory_sim import SERIES
from factory_sim.exchange import Answer, Ask, Provider, as_html, as_json, number
from factory_sim.noise import Floats, Ints, floats

LONGEST = timedelta(days=31)
PUBLISHED = {"spot_eur_mwh": time(13, 45), "pvpc_eur_mwh": time(20, 20)}  # at OMIE and ESIOS
UPDATED = {"spot_eur_mwh": time(14, 17), "pvpc_eur_mwh": time(20, 46)}  # here
_IDS = {"pvpc_eur_mwh": "1001", "spot_eur_mwh": "600"}
_WORDS = {"pvpc_eur_mwh": "PVPC", "spot_eur_mwh": "Precio mercado spot"}
_COLOURS = {"pvpc_eur_mwh": "#ffcf09", "spot_eur_mwh": "#1fd5fe"}

QUIRKS = {
    "late_publication": "everything appears 40 minutes later than usual",
    "spot_missing": "the answer has no spot series",
    "pvpc_missing": "the answer has no PVPC series",
    "hours": "spot of every day in hours, also where quarters are due",
    "old_words": "the types and titles of 2021 to 2023",
    "reversed": "the series come in the other order",
    "revised": "spot values corrected by +1 EUR/MWh, with a fresh last-update",
    "quarter_sums": "hours that are sums: all prices four times too high",
    "doubled_october": "the repeated October hour once, as the sum of both",
    "all_zero": "every value 0",
    "frozen": "every value the first one",
    "out_of_range": "every fifth value 99999",
}


def answer(ask: Ask) -> Answer:
    """Return what ``/{lang}/datos/{category}/{widget}`` answers."""
    parts = ask.path.strip("/").split("/")
    widget = _WIDGETS.get("/".join(parts[2:]))
    if len(parts) != 4 or parts[1] != "datos" or widget is None:
        return as_html(
            "Oops! An Error Occurred", "The server returned a 500 Internal Server Error.", 500
        )
    try:
        start = datetime.fromisoformat(ask.get("start_date")).replace(tzinfo=MADRID)
        end = datetime.fromisoformat(ask.get("end_date")).replace(tzinfo=MADRID, fold=1)
    except ValueError:
        return _refused("Bad Request", "Los parámetros start_date y end_date son obligatorios.")
    if end - start > LONGEST or end < start:
        return _not_available()
    # One second past the inclusive end: whatever starts at the end itself is in.
    return widget(ask, from_epoch(epoch(start)), from_epoch(epoch(end) + 1))


def _prices(ask: Ask, start: datetime, end: datetime) -> Answer:
    geo = {"geo_limit", "geo_ids", "geo_trunc"} & set(ask.query)
    if ask.get("geo_limit", "peninsular") != "peninsular" or geo == {"geo_trunc"}:
        return _not_available()
    prices = {}
    for name in ("pvpc_eur_mwh",) if geo else ("pvpc_eur_mwh", "spot_eur_mwh"):
        starts, values = _published(ask, name, start, end)
        if len(starts) and f"{name.split('_')[0]}_missing" not in ask.quirks:
            prices[name] = dict(zip(starts.tolist(), values.tolist(), strict=True))
    if not prices:
        return _not_available()
    total = _sums(prices.values())
    included = [_price_serie(ask, name, values, total) for name, values in prices.items()]
    if "reversed" in ask.quirks:
        included.reverse()
    return _body("Precios mercado peninsular en tiempo real", "mer13", included)


def _sums(series: Iterable[Mapping[int, float]]) -> dict[int, float]:
    total: dict[int, float] = {}
    for values in series:
        for at, value in values.items():
            total[at] = total.get(at, 0.0) + abs(value)
    return total


def _published(ask: Ask, name: str, start: datetime, end: datetime) -> tuple[Ints, Floats]:
    """Return the slots that are published by now and delivered, spoilt as the quirks say."""
    delay = timedelta(minutes=40) if "late_publication" in ask.quirks else timedelta()
    starts = expected(
        SERIES[name], start, min(end, DayAhead(UPDATED[name]).known_until(ask.now - delay))
    )
    starts = starts[ask.holes.delivered(ask.source, name, starts)]
    if "hours" in ask.quirks and name == "spot_eur_mwh":
        starts = starts[starts % HOUR_S == 0]
        return starts, ask.world.spot(starts, HOUR_S)
    revision = 1.0 if "revised" in ask.quirks and name == "spot_eur_mwh" else 0.0
    return spoil(starts, ask.world.values(name, starts) + revision, ask.quirks)


def spoil(starts: Ints, values: Floats, quirks: frozenset[str]) -> tuple[Ints, Floats]:
    """Return prices with the defects that were seen in the wild."""
    if "quarter_sums" in quirks:
        values = values * 4
    if "doubled_october" in quirks:
        wall = to_index(starts).tz_convert(MADRID).tz_localize(None).asi8
        _, first, slot = np.unique(wall, return_index=True, return_inverse=True)
        starts = starts[first]
        values = floats(np.bincount(slot, weights=values))
    if "all_zero" in quirks:
        values = np.zeros(len(starts))
    if "frozen" in quirks:
        values = np.repeat(values[:1], len(starts))
    if "out_of_range" in quirks:
        values = np.where(np.arange(len(starts)) % 5 == 0, 99999.0, values)
    return starts, np.round(values, 2)


def _price_serie(
    ask: Ask, name: str, values: Mapping[int, float], total: Mapping[int, float]
) -> dict[str, Any]:
    """Return a series; ``percentage`` is the share of the sum of all series, as in the service."""
    rows = [
        {
            "value": number(value),
            "percentage": number(abs(value) / total[at] if value else 0),
            "datetime": wall_time(at),
        }
        for at, value in values.items()
    ]
    word = _WORDS[name]
    if "old_words" in ask.quirks:
        word = {"pvpc_eur_mwh": "PVPC (€/MWh)", "spot_eur_mwh": "Precio mercado spot (€/MWh)"}[name]
    day_before = market_day(from_epoch(max(values))) - timedelta(days=1)
    updated = ask.now if "revised" in ask.quirks else local_instant(day_before, UPDATED[name])
    return _serie(word, _IDS[name], wall_time(epoch(updated)), rows, "price", _COLOURS[name])


def _load(ask: Ask, start: datetime, end: datetime) -> Answer:
    starts, values = ask.world.window("load_mw", start, min(end, ask.now - timedelta(hours=1)))
    return _quantities(
        ask, "load_mw", starts, values, ("Demanda", "1293"), ("Evolución de la demanda", "dem1")
    )


def _generation(ask: Ask, start: datetime, end: datetime) -> Answer:
    if ask.get("time_trunc") != "day":
        return as_html(
            "Oops! An Error Occurred", "The server returned a 500 Internal Server Error.", 500
        )
    today = day_start(market_day(ask.now))
    starts, values = ask.world.window("gas_generation_mwh", start, min(end, today))
    title = ("Estructura de la generación por tecnologías", "gen1")
    return _quantities(
        ask, "gas_generation_mwh", starts, values, ("Ciclo combinado", "1454"), title
    )


def _quantities(
    ask: Ask,
    name: str,
    starts: Ints,
    values: Floats,
    words: tuple[str, str],
    title: tuple[str, str],
) -> Answer:
    kept = ask.holes.delivered(ask.source, name, starts)
    rows = [
        {"value": number(value), "percentage": 1, "datetime": wall_time(at)}
        for at, value in zip(starts[kept].tolist(), values[kept].tolist(), strict=True)
    ]
    if not rows:
        return _not_available()
    return _body(*title, [_serie(*words, wall_time(epoch(ask.now)), rows, None, "#fccc66")])


_WIDGETS = {
    "mercados/precios-mercados-tiempo-real": _prices,
    "demanda/evolucion": _load,
    "generacion/estructura-generacion": _generation,
}


def wall_time(at_s: int) -> str:
    """Return an instant as apidatos and ESIOS print it: milliseconds and Madrid's offset."""
    return from_epoch(at_s).astimezone(MADRID).isoformat(timespec="milliseconds")


def _serie(
    word: str,
    identity: str,
    updated: str,
    rows: list[dict[str, Any]],
    magnitude: str | None,
    colour: str,
) -> dict[str, Any]:
    attributes = {
        "title": word,
        "description": None,
        "color": colour,
        "icon": None,
        "type": None,
        "magnitude": magnitude,
        "composite": False,
        "last-update": updated,
        "values": rows,
    }
    return {"type": word, "id": identity, "groupId": None, "attributes": attributes}


def _body(title: str, identity: str, included: list[dict[str, Any]]) -> Answer:
    updated = max(serie["attributes"]["last-update"] for serie in included)
    attributes = {"title": title, "last-update": updated, "description": None}
    data = {
        "type": title,
        "id": identity,
        "attributes": attributes,
        "meta": {"cache-control": {"cache": "MISS"}},
    }
    return as_json({"data": data, "included": included})


def _refused(title: str, detail: str, status: int = 400) -> Answer:
    return as_json({"errors": [{"status": str(status), "title": title, "detail": detail}]}, status)


def _not_available() -> Answer:
    return _refused(
        "Error Interno",
        "Los datos solicitados no están disponibles en este momento. Inténtelo de nuevo más tarde.",
    )


INCAPSULA = as_html(
    "", "Request unsuccessful. Incapsula incident ID: 1234000560123456789-98765432101234567", 403
)

PROVIDER = Provider(
    answer,
    QUIRKS,
    {"forbidden": (INCAPSULA,), "too_many": (as_html("429 Too Many Requests", "Slow down.", 429),)},
)
