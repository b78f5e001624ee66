"""Decimal signs: a column has one, or it is refused; no number is read as another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_lib.errors import ImportFileError
from factory_lib.sources.parsing import with_decimal_points
from tests.unit.importers.conftest import SIAR_HEADER, Reader


def spanish(number: Decimal) -> str:
    return f"{number:f}".replace(".", ",")


def spanish_grouped(number: Decimal) -> str:
    return f"{number:,f}".translate({44: ".", 46: ","})


def english_grouped(number: Decimal) -> str:
    return f"{number:,f}"


def english(number: Decimal) -> str:
    return f"{number:f}"


STYLES = (spanish, spanish_grouped, english, english_grouped)
NUMBERS = st.integers(1, 3).flatmap(lambda n: st.decimals(-9_999_999, 9_999_999, places=n))


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.sampled_from(STYLES))
def test_a_column_in_one_style_is_read_right(
    numbers: list[Decimal], style: Callable[[Decimal], str]
) -> None:
    read = with_decimal_points([style(number) for number in numbers])
    assert list(map(Decimal, read)) == numbers


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(STYLES)), min_size=2, max_size=12))
def test_a_column_in_several_styles_is_read_right_or_refused(
    cells: list[tuple[Decimal, Callable[[Decimal], str]]],
) -> None:
    try:
        read = with_decimal_points([style(number) for number, style in cells])
    except ValueError:
        return
    else:
        assert [Decimal(text) for text in read] == [number for number, _ in cells]


@given(st.lists(st.text(alphabet="0123456789.,-+e xn", max_size=8), max_size=8))
def test_whatever_stands_there_is_kept_or_refused(texts: list[str]) -> None:
    with suppress(ValueError):
        assert len(with_decimal_points(texts)) == len(texts)


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        pytest.param(["1.234", "2.345"], ["1.234", "2.345"], id="points alone are decimals"),
        pytest.param(["1,234", "12"], ["1.234", "12"], id="commas alone are decimals"),
        pytest.param(["1.234.567", "2.345"], ["1234567", "2345"], id="millions group"),
        pytest.param(["1.234,5", "12,345"], ["1234.5", "12.345"], id="one shows the grouping"),
        pytest.param(["12,5", "n/a", ""], ["12.5", "n/a", ""], id="other texts stay"),
    ],
)
def test_what_tells_the_signs_apart(texts: list[str], read: list[str]) -> None:
    assert with_decimal_points(texts) == read


@pytest.mark.parametrize(
    "texts",
    [
        ["1.234,5", "2.345"],
        ["12.5", "12,5"],
        ["1.234", "2,5"],
        ["0.123", "1.234,5"],
        ["1,234.5", "2,5"],
        ["1.2.3", "4"],
    ],
    ids=" ".join,
)
def test_what_contradicts_itself_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="mixes decimal points and decimal commas"):
        with_decimal_points(texts)


HOURS = [datetime.fromisoformat("2026-03-02") + timedelta(hours=n) for n in range(24)]
VALUES = [Decimal(n % 7 * 100 + 1250 + n) / 100 for n in range(24)]


def table(header: str, row: Callable[[datetime, str], str]) -> Callable[[list[str]], str]:
    """Return what writes a table of 24 hours with the numbers as they are given."""
    return lambda numbers: "\n".join(
        [header, *(row(*each) for each in zip(HOURS, numbers, strict=True)), ""]
    )


def siar(numbers: list[str]) -> str:
    days = [date(2024, 3, 1) + timedelta(days=n) for n in range(24)]
    rows = [
        f"23;9;{day:%d/%m/%Y};{day.year};{day:%j};" + ";".join([number] * 19)
        for day, number in zip(days, numbers, strict=True)
    ]
    return "\n".join([SIAR_HEADER, *rows, ""])


TABLES = {
    "meter": table("time_local;energy_kwh", lambda at, number: f"{at:%Y-%m-%d %H:%M};{number}"),
    "distributor": table(
        "CUPS;Fecha;Hora;Consumo_kWh", lambda at, n: f"ES0;{at:%d/%m/%Y};{at.hour + 1};{n}"
    ),
    "price_table": table("Fecha;Hora;Precio", lambda at, n: f"{at:%d/%m/%Y};{at.hour + 1};{n}"),
    "entsoe_csv": table(
        "Time (UTC);Day-ahead Total Load Forecast [MW] - BZN|ES",
        lambda at, n: f"{at:%d.%m.%Y %H:%M} - 01.01.2030;{n}",
    ),
    "esios_csv": table(
        "id;name;geoid;geoname;value;datetime",
        lambda at, n: f"600;spot;3;España;{n};{at:%Y-%m-%dT%H:%M:%S}+01:00",
    ),
    "quoted": table("time_local,energy_kwh", lambda at, n: f'{at:%Y-%m-%d %H:%M},"{n}"'),
    "siar_csv": siar,
}


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
def test_a_file_with_mixed_signs_is_refused_or_its_values_are_right(
    read: Reader, write: Callable[[list[str]], str]
) -> None:
    mixed = [(english if n % 2 else spanish)(value) for n, value in enumerate(VALUES)]
    try:
        reading = read.reading(write(mixed))
    except ImportFileError:
        return
    column = reading.table[reading.series[0]]
    kept = column.notna()
    right = [float(value) for value in VALUES]
    assert column[kept].tolist() == [v for v, keep in zip(right, kept, strict=True) if keep]


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("style", [spanish, english])
def test_a_file_with_either_sign_is_read(
    read: Reader, write: Callable[[list[str]], str], style: Callable[[Decimal], str]
) -> None:
    reading = read.reading(write([style(value) for value in VALUES]))
    right = [float(value) for value in VALUES]
    assert reading.table[reading.series[0]].tolist() == pytest.approx(right)
