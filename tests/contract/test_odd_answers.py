"""Answers as an attacker, or a tired server, would give them: rows, or the error that is right.

Every provider is asked what it serves; its own good answers are changed on the line.
Unknown fields change nothing, whatever is in them and wherever they stand; what is no
answer of it is a ``SourceError``, and never a value.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks._wire import Wire, serving
from benchmarks.fuzz import EXPORT, Bench, Case, cases, rows_of
from factory_lib.errors import AuthError, NoDataYet, SourceError

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


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=st.sampled_from(IS_JSON), extra=UNKNOWN, seed=st.integers(0, 99))
def test_a_field_that_no_client_knows_changes_nothing(
    bench: Bench, case: Case, extra: Any, seed: int
) -> None:
    def added(wire: Wire) -> Wire:
        try:
            tree = json.loads(wire.body)
        except ValueError:
            return wire  # a document in another charset, or a token
        body = json.dumps(with_fields(tree, extra, random.Random(seed)), ensure_ascii=True)
        return wire._replace(body=body.encode())

    assert asked(bench, case, added) == case.truth


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
