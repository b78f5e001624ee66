"""Tables as people save them, made into the plain ones that the formats read.

Title lines, semicolons or tabs, decimal commas, dates as dd/mm/yyyy, UTF-16 and Windows
text, column names in Spanish or English with their units, times that end their slot:
each is recognised from the content. What is assumed stands in the notes.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas as pd

from factory_lib.errors import ImportFileError
from factory_lib.importers.doubts import daily_steps
from factory_lib.importers.files import Member, decoded
from factory_lib.importers.reading import Format, Lines
from factory_lib.sources.parsing import with_decimal_points

SEPARATORS = ";\t,|"
HEAD_BYTES = 16_384
HEADER_WITHIN = 40  # lines: titles stand above a table, hardly ever so many
FACTORS: Mapping[str, float] = {"wh": 0.001, "mwh": 1000.0, "eur_kwh": 1000.0}
# Plain name of a column -> pattern of its heading, in small letters without accents,
# everything else than letters and digits as one `_`; a unit may follow.
_ENERGY = r"energy|consumo|energia|energia_activa|energia_consumida|activa|activa_entrada|ae|as|a"
_UNIT = r"(?:_(?P<unit>kwh|wh|mwh|eur_mwh|eur_kwh|e_mwh|mw))?"
COLUMNS: Mapping[str, str] = {
    "cups": r"cups",
    "finished_utc": r"finished_utc",
    "time_utc": r"time_utc|fecha_utc|datetime_utc|(?:mtu|time)_utc",
    "time_local": r"time_local|fecha_(?:y_)?hora|fechahora|fecha_hora_local|(?:mtu|time)_cet_cest",
    "finished_local": r"finished_local|terminado|fin|hora_fin",
    "day": r"fecha|day|date|dia",
    "period": r"hora|hour|periodo|period|cuarto|hora_cuarto|h",
    "energy_kwh": rf"(?:{_ENERGY}){_UNIT}|(?P<only>kwh|wh)",
    "produced_kg": r"produced_kg|produccion(?:_kg)?|kg|kilos|kg_producidos",
    "batch": r"batch|lote",
    "variant": r"variant|variante|producto",
    "spot_eur_mwh": rf"(?:spot|precio(?:_spot|_marginal|_mercado)?|price){_UNIT}",
    "pvpc_eur_mwh": rf"pvpc{_UNIT}",
}
NUMBERS = ("energy_kwh", "produced_kg", "spot_eur_mwh", "pvpc_eur_mwh")
_UNKNOWN = frozenset({"n/e", "n/a", "-", "nan", "null"})
# ENTSO-E's headings: quantity, kind and the area of a bidding zone.
_ENTSOE = (
    (r"day_ahead_price", "spot_eur_mwh"),
    (r"total_load_forecast|forecast_total_load|day_ahead_total_load", "{area}_load_forecast_mw"),
    (r"solar.*day_ahead", "{area}_solar_forecast_mw"),
    (r"wind_onshore.*day_ahead", "{area}_wind_forecast_mw"),
    (r"wind_offshore.*day_ahead", "{area}_wind_offshore_forecast_mw"),
    (r"actual_total_load", "load_mw"),
)
_AREA = re.compile(r"(?:bzn|cta|bza)_(es|fr|pt)(?:_|$)")


def plain_heading(text: str) -> str:
    """Return a heading in small letters and digits without accents, parted by ``_``."""
    text = text.replace("€", "EUR").replace("|", " ")
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", letters).strip("_")


@lru_cache(maxsize=4096)
def _plain_name(heading: str) -> tuple[str, str]:
    """Return the plain name of a heading and its unit, or empty texts."""
    area = _AREA.search(heading)
    for pattern, name in _ENTSOE if area or "eur_mwh" in heading else ():
        if re.search(pattern, heading):
            return name.format(area=area[1] if area else "es"), ""
    for name, pattern in COLUMNS.items():
        if match := re.fullmatch(pattern, heading):
            units = match.groupdict()
            return name, units.get("unit") or units.get("only") or ""
    return "", ""


def _header(
    lines: Sequence[str], headings: Mapping[str, str]
) -> tuple[int, str, list[tuple[str, str]]] | None:
    """Return position, separator and columns of the first line with two known headings."""
    for position, line in enumerate(lines[:HEADER_WITHIN]):
        for separator in SEPARATORS:
            cells = next(csv.reader([line], delimiter=separator), [])
            plain = [plain_heading(cell) for cell in cells]
            columns = [
                (headings[cell], "") if cell in headings else _plain_name(cell) for cell in plain
            ]
            if len({name for name, _ in columns if name}) > 1:
                return position, separator, columns
    return None


def column_names(member: Member, headings: Mapping[str, str]) -> frozenset[str]:
    """Return the plain names of a table's columns that are recognised from its first lines."""
    header = _header(decoded(member.data[:HEAD_BYTES]).splitlines(), headings)
    return frozenset(name for name, _ in header[2] if name) if header else frozenset()


def read_table(member: Member, fmt: Format) -> Lines:
    """Return the lines of a table by the plain names of its columns.

    Raises
    ------
    ImportFileError
        If no line names two known columns, a line has more values than columns, a column
        mixes decimal signs, or day and month seem exchanged.
    """
    header = _header(list(io.StringIO(member.text, newline=None)), fmt.headings)
    if header is None:
        raise ImportFileError(member.label, "has no line that names two known columns")
    position, separator, columns = header
    names = [name for name, _ in columns]
    lines = Lines(member, fmt, separator, names=names, heading=position)
    units = dict(reversed(columns))  # of a name that stands twice, the first one's
    for name in lines.names:
        if name in (*NUMBERS, *fmt.headings.values()) or name.endswith("_mw"):
            lines.text[name] = _numbers(lines, name, units[name])
    if "day" in lines.text:
        lines.text["day"] = iso_days(lines)
    lines.text = _split_ends(lines.text)
    return lines


def _numbers(lines: Lines, name: str, unit: str) -> pd.Series:
    """Return a column of numbers as texts with a point, in the unit of the plain name."""
    texts = lines.column(name)
    texts = texts.mask(texts.str.lower().isin(_UNKNOWN), "")
    try:
        texts = pd.Series(with_decimal_points(texts.tolist()), texts.index, dtype="str")
    except ValueError as error:
        remedy = "Save it with one decimal sign throughout. Nothing of it was stored."
        problem = f"column {name} {error}"
        raise ImportFileError(lines.member.label, problem, next_step=remedy) from None
    if unit in FACTORS:
        lines.notes.append(f"Values are in {unit.replace('_', '/')} and were converted.")
        values = pd.to_numeric(texts, errors="coerce") * FACTORS[unit]
        texts = values.round(6).map("{:.15g}".format).where(values.notna(), texts)
    return texts


def iso_days(lines: Lines) -> pd.Series:
    """Return the dates of column ``day`` as ISO texts; dd/mm/yyyy is read as it is in Spain.

    Raises
    ------
    ImportFileError
        If only as mm/dd do the dates follow each other.
    """
    texts = lines.column("day")
    numbers = texts.str.extract(r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})$")
    if not numbers.notna().all(axis=1).any():
        return texts.str.replace("/", "-", regex=False)
    orders = {}
    for name, (day, month) in {"day": (0, 1), "month": (1, 0)}.items():
        written = numbers[2] + "-" + numbers[month] + "-" + numbers[day]
        orders[name] = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    readable = {name: days.notna().sum() for name, days in orders.items()}
    steps = {name: daily_steps(days.dropna().drop_duplicates()) for name, days in orders.items()}
    if readable["month"] > readable["day"] or steps["month"] > max(0.5, steps["day"]):
        wrong = ", ".join(texts[texts.ne("").to_numpy()].drop_duplicates().head(3))
        raise ImportFileError(
            lines.member.label,
            f"has day and month exchanged: its dates ({wrong} …) follow each other as mm/dd only",
            next_step="Save it with dates as dd/mm/yyyy or yyyy-mm-dd. Nothing of it was stored.",
        )
    lines.notes.append("Dates were read as day/month/year.")
    return orders["day"].dt.strftime("%Y-%m-%d").fillna(texts)


def _iso_times(texts: pd.Series) -> pd.Series:
    """Return times of a slot's begin as ISO texts: of ``dd.mm.yyyy hh:mm - …`` the first."""
    first = texts.str.replace(r" - \d.*$", "", regex=True)
    return first.str.replace(r"^(\d\d)[/.](\d\d)[/.](\d{4})", r"\3-\2-\1", regex=True)


def _split_ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Split local times into day and clock where one is 24:00, which ends its slot."""
    if "time_utc" in frame:
        texts = _iso_times(frame["time_utc"])
        return frame.assign(time_utc=texts.where(texts == frame["time_utc"], texts + "Z"))
    if "time_local" not in frame:
        return frame
    texts = _iso_times(frame["time_local"])
    clock = texts.str.extract(r"^(\S+)[T ](\d\d:\d\d)(?::00)?$").fillna("")
    if not (clock[1] == "24:00").any():
        return frame.assign(time_local=texts)
    return frame.drop(columns="time_local").assign(day=clock[0], period=clock[1])
