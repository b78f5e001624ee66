"""Answers as an attacker, or a tired server, would give them: rows, or the error that is right.

Every provider is asked what it serves; its own good answers are changed on the line.
Unknown fields change nothing, whatever is in them and wherever they stand; what is no
answer of it is a ``SourceError``, and never a value.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks._mutation import as_body, tree_of
from benchmarks._wire import Wire, serving
from benchmarks.fuzz import EXPORT, Bench, Case, cases, rows_of
from factory_lib.errors import AuthError, MalformedResponse, NoDataYet, SourceError

KINDS = {(case.source, case.what, bool(case.keys["ESIOS_TOKEN"])): case for case in cases()}
ONE_EACH = [case for case in KINDS.values() if case.source != EXPORT]
IDS = [
    f"{case.source} {case.what} {'' if case.keys['ESIOS_TOKEN'] else 'archive'}"
    for case in ONE_EACH
]
IS_JSON = [case for case in ONE_EACH if case.source != "omie"]
every_case = pytest.mark.parametrize("case", ONE_EACH, ids=IDS)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(str(tmp_path_factory.mktemp("odd")))
    with serving(made.respond) as url:
        made.url = url
        for case in ONE_EACH:
            assert made.record(case), case
        yield made


def changed(case: Case, change: Callable[[Wire], Wire]) -> dict[str, Wire]:
    return {target: change(wire) for target, wire in case.answers.items()}


def asked(bench: Bench, case: Case, change: Callable[[Wire], Wire]) -> dict[Any, float]:
    """Return the rows of changed answers; what is no answer is a typed error."""
    frame: pd.DataFrame = bench.ask(case, changed(case, change))
    return rows_of(frame)


def with_fields(tree: Any, extra: Any, chance: random.Random) -> Any:
    """Return JSON with an unknown field in each object, at a random position."""
    if isinstance(tree, list):
        return [with_fields(each, extra, chance) for each in tree]
    if not isinstance(tree, dict):
        return tree
    pairs = [(key, with_fields(value, extra, chance)) for key, value in tree.items()]
    pairs.insert(chance.randint(0, len(pairs)), ("campoNuevo", extra))
    return dict(pairs)


UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


json_cases = pytest.mark.parametrize(
    "case", IS_JSON, ids=[name for name in IDS if not name.startswith("omie")]
)


@json_cases
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(extra=UNKNOWN, seed=st.integers(0, 99))
def test_a_field_that_no_client_knows_changes_nothing(
    bench: Bench, case: Case, extra: Any, seed: int
) -> None:
    def added(wire: Wire) -> Wire:
        tree = tree_of(wire.body)
        if tree is None:
            return wire  # a token
        return as_body(wire, with_fields(tree, extra, random.Random(seed)))

    assert asked(bench, case, added) == case.truth


# The fields that a client cannot do without, by source and question, and after `|` those
# that are one series each, which alone is lost without them; after a second one those
# for which another field can stand. Every other field of an answer may be missing.
_GRID = "latitude longitude utc_offset_seconds hourly hourly.* hourly_units hourly_units.*"
FIELDS = {
    ("ree", "prices"): "included included.each.id included.each.attributes "
    "*.values *.datetime *.value",
    ("esios", "prices"): "indicator indicator.id *.values *.values.each.geo_id *.datetime *.value",
    ("esios", "archive"): "PVPC *.Dia *.Hora *.PCB",
    ("energy_charts", "day ahead"): "unix_seconds forecast_values",
    ("open_meteo_runs", "runs"): _GRID,
    ("open_meteo", "weather"): _GRID,
    ("open_meteo_recent", "weather"): _GRID,
    ("open_meteo_recent", "forecast"): _GRID,
    ("aemet", "weather"): "datos *.idema *.fint | *.ta *.hr *.pres *.pres_nmar *.vv *.prec",
    ("aemet", "climate"): "datos *.fecha *.indicativo | *.tmed *.prec *.tmin *.tmax *.velmedia "
    "*.hrMedia *.hrMax *.hrMin",
    ("aemet", "forecast"): "datos *.elaborado *.prediccion *.dia *.fecha *.temperatura "
    "*.temperatura.each.value *.temperatura.each.periodo *.humedadRelativa "
    "*.humedadRelativa.each.value *.humedadRelativa.each.periodo",
    ("siar", "climate"): "datos *.Fecha | *.TempMedia *.TempMax *.TempMin *.HumedadMedia "
    "*.HumedadMax *.humedadMin *.VelViento *.Radiacion *.Precipitacion",
    ("openweathermap", "weather"): "coord coord.lon coord.lat main dt | main.temp main.humidity "
    "main.grnd_level wind wind.speed | main.pressure",
    ("openweathermap", "history"): "lat lon data *.dt | *.temp *.pressure *.humidity *.wind_speed",
    ("openweathermap", "forecast"): "list *.dt list.each.main city city.coord *.coord.lat "
    "*.coord.lon | *.main.temp *.main.humidity",
}
Path = tuple[str, ...]


def paths(node: Any, above: Path = ()) -> Iterator[Path]:
    """Yield the place of every field; objects of a list are ``each``."""
    named = node.items() if isinstance(node, dict) else ()
    for key, value in named:
        yield (*above, key)
        yield from paths(value, (*above, key))
    for value in node if isinstance(node, list) else ():
        yield from paths(value, (*above, "each"))


def without(node: Any, path: Path, chosen: Callable[[], bool] = lambda: True) -> Any:
    """Return JSON that lacks a field, in every object that is chosen."""
    key, *below = path
    if isinstance(node, list) and key == "each":
        return [without(each, tuple(below), chosen) for each in node]
    if not isinstance(node, dict) or key not in node:
        return node
    if below:
        return {**node, key: without(node[key], tuple(below), chosen)}
    return {name: value for name, value in node.items() if name != key or not chosen()}


def lacking(*taken: Path, chosen: Callable[[], bool] = lambda: True) -> Callable[[Wire], Wire]:
    """Return the change that takes fields away, of answers that are JSON."""

    def change(wire: Wire) -> Wire:
        tree = reduce(lambda node, path: without(node, path, chosen), taken, tree_of(wire.body))
        return wire if tree is None else as_body(wire, tree)

    return change


def fields_of(case: Case) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the fields of a question's answers: needed, a series each, and the others."""
    what = case.what if case.keys["ESIOS_TOKEN"] else "archive"
    texts = (*FIELDS[case.source, what].split(" | "), "", "")[:3]
    needed, series, doubled = (text.split() for text in texts)
    trees = [tree_of(wire.body) for wire in case.answers.values()]
    every = dict.fromkeys(path for tree in trees if tree is not None for path in paths(tree))

    def among(path: Path, patterns: list[str]) -> bool:
        named = ".".join(path)
        return named != "hourly_units.time" and any(fnmatchcase(named, each) for each in patterns)

    parts: tuple[list[Path], ...] = ([], [], [], [])
    for path in every:
        part = [among(path, patterns) for patterns in (needed, series, doubled)]
        parts[(*part, True).index(True)].append(path)
    return parts[0], parts[1], parts[3]


@json_cases
def test_a_needed_field_that_is_missing_is_a_malformed_answer(bench: Bench, case: Case) -> None:
    needed, series, _ = fields_of(case)
    for path in needed:
        with pytest.raises(MalformedResponse):
            pytest.fail(f"{path}: {len(asked(bench, case, lacking(path)))} rows")
    for path in series:
        rows = asked(bench, case, lacking(path))
        assert rows, path
        assert rows.items() < case.truth.items(), path


@json_cases
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_fields_that_are_not_needed_may_be_missing_all_or_some_here_and_there(
    bench: Bench, case: Case, data: st.DataObject
) -> None:
    others = fields_of(case)[2]
    taken = data.draw(st.just(others) | st.lists(st.sampled_from(others), unique=True))
    chance = random.Random(data.draw(st.integers(0, 99)))
    share = data.draw(st.sampled_from([0.1, 1.0]))
    change = lacking(*taken, chosen=lambda: chance.random() < share)
    assert asked(bench, case, change) == case.truth


@json_cases
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_field_missing_here_and_there_makes_no_other_row(
    bench: Bench, case: Case, data: st.DataObject
) -> None:
    needed, series, _ = fields_of(case)
    path = data.draw(st.sampled_from(needed + series))
    chance = random.Random(data.draw(st.integers(0, 99)))
    try:
        rows = asked(bench, case, lacking(path, chosen=lambda: chance.random() < 0.1))
    except SourceError:
        return
    assert rows.items() <= case.truth.items()


PAGE = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Mantenimiento</body></html>"
ANSWERS = {
    "an error page under 200": Wire(200, "text/html; charset=UTF-8", PAGE),
    "an error page that says it is JSON": Wire(200, "application/json", PAGE),
    "an empty list": Wire(200, "application/json", b"[]"),
    "an empty object": Wire(200, "application/json", b"{}"),
    "null": Wire(200, "application/json", b"null"),
    "nothing": Wire(200, "application/json", b""),
    "half an object": Wire(200, "application/json", b'{"data":{"attributes":'),
    "numbers without end": Wire(200, "application/json", b"[" * 100_000),
    "an expired document": Wire(
        200, "application/json", b'{"descripcion":"datos expirados","estado":404}'
    ),
    "broken gzip": Wire(
        200, "application/json", gzip.compress(b'{"a":1}')[:-6], {"Content-Encoding": "gzip"}
    ),
    "gzip that is none": Wire(200, "application/json", b"plain", {"Content-Encoding": "gzip"}),
    "bytes of no charset": Wire(200, "application/json; charset=utf-8", b"\xff\xfe\x00\xd8\xff"),
    "a charset of no machine": Wire(200, "application/json; charset=klingon", b"\x80\x81"),
    "a redirect to itself": Wire(302, "text/html", b"", {"Location": "/again"}),
    "no content": Wire(204, "application/json", b""),
}


@every_case
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_is_an_error_of_the_provider(
    bench: Bench, case: Case, answer: Wire
) -> None:
    with pytest.raises(SourceError) as raised:
        asked(bench, case, lambda _: answer)
    assert raised.value.message


@every_case
def test_a_byte_order_mark_and_spaces_around_change_nothing_or_are_refused(
    bench: Bench, case: Case
) -> None:
    for before, after in ((b"\xef\xbb\xbf", b""), (b"\r\n ", b" \r\n")):
        try:
            rows = asked(bench, case, lambda wire: wire._replace(body=before + wire.body + after))  # noqa: B023
        except SourceError:
            continue
        assert rows == case.truth


@every_case
@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1", "nonsense"])
def test_another_charset_in_the_header_gives_no_other_value(
    bench: Bench, case: Case, charset: str
) -> None:
    try:
        rows = asked(
            bench,
            case,
            lambda wire: wire._replace(content_type=f"application/json; charset={charset}"),
        )
    except SourceError:
        return
    assert rows == case.truth


@every_case
def test_a_refused_key_and_a_missing_page_are_told_apart(bench: Bench, case: Case) -> None:
    with pytest.raises(AuthError):
        asked(bench, case, lambda _: Wire(401, "application/json", b'{"message":"denied"}'))
    with pytest.raises((NoDataYet, SourceError)):
        asked(bench, case, lambda _: Wire(404, "application/json", b""))
