"""OMIE's daily file of day-ahead prices: slots since local midnight, Portugal before Spain."""

import re
from datetime import date, timedelta

import numpy as np

from factory_lib.catalogue import DayAhead
from factory_lib.clock import HOUR_S, day_bounds
from factory_lib.slots import expected
from factory_sim import SERIES
from factory_sim.exchange import Answer, Ask, Provider, as_html
from factory_sim.noise import Floats, Ints
from factory_sim.wire_ree import PUBLISHED, spoil

_FILE = re.compile(r"marginalpdbc_(\d{8})\.([1-5])")

QUIRKS = {
    "republished": "the file exists as .2 only",
    "third_edition": "the file exists as .3 only",
    "corrected": "the file exists as .1, one EUR/MWh too low, and as .2",
    "late_correction": "beside .1 there is .2, one EUR/MWh higher",
    "missing_page": "a missing file is a page of the site with 200",
    "missing_empty": "a missing file is an empty answer with 200",
    "late_publication": "the file appears 40 minutes later than usual",
    "cut_file": "the file ends after two thirds, without its last line",
    "quarter_sums": "all prices four times too high",
    "all_zero": "every value 0",
    "out_of_range": "every fifth value 99999",
}


def answer(ask: Ask) -> Answer:
    """Return what ``/es/file-download`` answers."""
    day = _day(ask)
    if ask.path != "/es/file-download" or ask.get("parents") != "marginalpdbc" or day is None:
        return _missing(ask)
    delay = timedelta(minutes=40) if "late_publication" in ask.quirks else timedelta()
    known_until = DayAhead(PUBLISHED["spot_eur_mwh"]).known_until(ask.now - delay)
    start, end = day_bounds(day)
    starts = expected(SERIES["spot_eur_mwh"], start, end)
    if start >= known_until or not ask.holes.delivered(ask.source, "spot_eur_mwh", starts).all():
        return _missing(ask)  # a file is whole or not there
    _, spain = spoil(starts, ask.world.values("spot_eur_mwh", starts), ask.quirks)
    spain = spain + _correction(ask)
    lines = _lines(day, _portugal(ask, starts, spain), spain)
    if "cut_file" in ask.quirks:
        lines = lines[: len(lines) * 2 // 3]
    return Answer(200, "".join(f"{line}\r\n" for line in lines).encode("ascii"), "text/plain")


def _correction(ask: Ask) -> float:
    """Return what an edition is off the true prices."""
    off = {("corrected", "1"): -1.0, ("late_correction", "2"): 1.0}
    edition = ask.get("filename")[-1]
    return sum(off.get((quirk, edition), 0.0) for quirk in ask.quirks)


def _day(ask: Ask) -> date | None:
    """Return the day of the requested file, None where there is no such file."""
    editions = {
        "republished": "2",
        "third_edition": "3",
        "corrected": "12",
        "late_correction": "12",
    }
    present = next((editions[quirk] for quirk in editions if quirk in ask.quirks), "1")
    match = _FILE.fullmatch(ask.get("filename"))
    try:
        return date.fromisoformat(match[1]) if match and match[2] in present else None
    except ValueError:
        return None


def _portugal(ask: Ask, starts: Ints, spain: Floats) -> Floats:
    """Return the neighbour's price: the same, but in the hours when the border is congested."""
    congested = ask.world.noise.uniform("border", starts // HOUR_S) < 0.2
    return np.where(congested, np.round(spain * 1.04 + 0.5, 2), spain)


def _lines(day: date, portugal: Floats, spain: Floats) -> list[str]:
    rows = zip(range(1, len(spain) + 1), portugal.tolist(), spain.tolist(), strict=True)
    return [
        "MARGINALPDBC;",
        *(f"{day:%Y;%m;%d};{n};{_plain(pt)};{_plain(es)};" for n, pt, es in rows),
        "*",
    ]


def _plain(value: float) -> str:
    """Print a price without trailing zeros: the file has no fixed number of decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _missing(ask: Ask) -> Answer:
    if "missing_empty" in ask.quirks:
        return Answer(200, b"", "text/plain")
    status = 200 if "missing_page" in ask.quirks else 404
    return as_html("Página no encontrada | OMIE", "El fichero solicitado no existe.", status)


PROVIDER = Provider(answer, QUIRKS)
