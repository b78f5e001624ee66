"""The InfluxDB double: what it accepts, refuses and answers, against InfluxDB's documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from tests.support import influx_double as double
from tests.support.influx_double_flux import FluxError, run
from tests.support.influx_double_points import Bucket, LineError, _parse_careful, _parse_plain

ALL = 'from(bucket: "b") |> range(start: 1970-01-01T00:00:00Z, stop: 2030-01-01T00:00:00Z)'


def bucket(*lines: str) -> Bucket:
    made = Bucket()
    made.write("\n".join(lines).encode(), "s")
    return made


def answer(made: Bucket, flux: str, dialect: dict[str, Any] | None = None) -> list[str]:
    return run(flux, lambda name: made, dialect or {}).decode().split("\r\n")


class TestLines:
    plain = st.characters(
        codec="ascii", exclude_characters='"\\ ,=\n\r', categories=["L", "N", "P"]
    )
    texts = st.text(plain, min_size=1)
    numbers = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(
        "{}i".format
    )
    fields = st.lists(st.tuples(texts, numbers | texts.map('"{}"'.format)), min_size=1, max_size=3)

    @given(st.lists(st.tuples(texts, fields, st.integers(-(2**40), 2**40)), min_size=1, max_size=5))
    def test_the_quick_reader_reads_like_the_careful_one(self, lines: list[Any]) -> None:
        text = "\n".join(
            f"m,t={t} {','.join(f'{n}={v}' for n, v in fields)} {at}" for t, fields, at in lines
        )
        quick = _parse_plain(text.encode())
        if quick is None:
            return
        for mine, theirs in zip(quick, _parse_careful(text), strict=True):
            assert mine.tolist() == theirs.tolist()

    def test_the_quick_reader_takes_what_the_store_sends(self) -> None:
        assert _parse_plain(b'm,a=b x=1.5,x_about="=1;2;;r" 7\nm,a=b x=-2e-07 8') is not None

    def test_escapes_spaces_and_commas_in_texts(self) -> None:
        made = bucket('m,place=38\\,1\\ x\\=y f="a, \\"b\\" \\\\ =c" 1')
        ((key, columns),) = made.series.items()
        assert key == ("m", (("place", "38,1 x=y"),))
        assert columns["f"].read()[1].to_pylist() == ['a, "b" \\ =c']

    def test_the_last_one_written_at_a_time_counts_and_times_ascend(self) -> None:
        made = bucket("m,t=a x=1 20", "m,t=a x=2 10")
        made.write(b"m,t=a x=3 20", "s")
        times, texts = made.series["m", (("t", "a"),)]["x"].read()
        assert (times // 10**9).tolist() == [10, 20]
        assert texts.to_pylist() == ["2", "3"]

    @pytest.mark.parametrize(
        "line",
        [
            "m,t=a 1",
            "m,t=a x=abc 1",
            "m,t= x=1 1",
            "m,t=a x=inf 1",
            "m,t=a x= 1",
            'm,t=a x="open 1',
            "m,t=a x=1 y=2 1",
        ],
        ids=repr,
    )
    def test_what_is_not_line_protocol_is_refused_and_nothing_stored(self, line: str) -> None:
        made = Bucket()
        with pytest.raises(LineError):
            made.write(f"m,t=b x=1 1\n{line}".encode(), "s")
        assert not made.series

    def test_another_type_than_the_first_is_a_conflict_and_the_rest_is_kept(self) -> None:
        made = bucket("m,t=a x=1 1")
        conflict = made.write(b"m,t=a x=2i 2\nm,t=a y=5 2", "s")
        assert conflict is not None
        assert "is type integer, already exists as type float" in conflict
        assert made.series["m", (("t", "a"),)]["y"].read()[1].to_pylist() == ["5"]


class TestFlux:
    made = bucket("m,t=a x=1.5 0", "m,t=a x=2 3600", 'm,t=b x=7,s="p,q" 60', "other,t=a x=9 0")

    def test_annotated_answer(self) -> None:
        assert answer(
            self.made, ALL + ' |> filter(fn: (r) => r._measurement == "m" and r.t == "a")'
        ) == [
            "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,"
            "double,string,string,string",
            "#group,false,false,true,true,false,false,true,true,true",
            "#default,_result,,,,,,,,",
            ",result,table,_start,_stop,_time,_value,_field,_measurement,t",
            ",,0,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,1970-01-01T00:00:00Z,1.5,x,m,a",
            ",,0,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,1970-01-01T01:00:00Z,2,x,m,a",
            "",
            "",
        ]

    def test_a_new_header_where_types_change(self) -> None:
        flux = ALL + ' |> filter(fn: (r) => r.t == "b") |> keep(columns: ["_value", "_field"])'
        assert answer(self.made, flux, {"annotations": []}) == [
            ",result,table,_value,_field",
            ',_result,0,"p,q",s',
            "",
            ",result,table,_value,_field",
            ",_result,1,7,x",
            "",
            "",
        ]

    def test_ranges_are_half_open(self) -> None:
        flux = 'from(bucket: "b") |> range(start: 1970-01-01T00:00:00Z, stop: 1970-01-01T01:00:00Z)'
        flux += ' |> keep(columns: ["_value"])'
        assert ",_result,0,2" not in answer(self.made, flux, {"annotations": []})

    @pytest.mark.parametrize(
        ("condition", "values"),
        [
            ('r.t == "a"', {"1.5", "2", "9"}),
            ('r["t"] == "b" and r._field != "s"', {"7"}),
            ('(r.t == "a" and r._measurement == "m") or r._field == "s"', {"1.5", "2", "p,q"}),
            ('r.absent == "a"', set()),
        ],
        ids=["equal", "and-not", "or", "absent-tag"],
    )
    def test_conditions(self, condition: str, values: set[str]) -> None:
        flux = f'{ALL} |> filter(fn: (r) => {condition}) |> keep(columns: ["_value", "_field"])'
        body = answer(self.made, flux, {"annotations": []})
        found = {
            line.split(",", 3)[3].rsplit(",", 1)[0].strip('"')
            for line in body
            if line.startswith(",_result")
        }
        assert found == values

    @pytest.mark.parametrize(
        "tail",
        [
            "|> map(fn: (r) => r)",
            '|> filter(fn: (r) => r.t > "a")',
            '|> filter(fn: (r) => r.t == "a" and)',
            '|> pivot(rowKey: ["t"], columnKey: ["_field"], valueColumn: "_value")',
        ],
        ids=["unknown-stage", "unknown-operator", "cut-off", "unknown-pivot"],
    )
    def test_what_it_does_not_know_it_refuses(self, tail: str) -> None:
        with pytest.raises(FluxError):
            answer(self.made, f"{ALL} {tail}")

    def test_first_and_last_of_each_series(self) -> None:
        flux = (
            ALL
            + ' |> filter(fn: (r) => r._measurement == "m")'
            + ' |> filter(fn: (r) => r.t == "a") |> {}()'
        )
        ends = [
            answer(self.made, flux.format(name), {"annotations": []})[1].split(",")[6]
            for name in ("first", "last")
        ]
        assert ends == ["1.5", "2"]


@pytest.fixture(scope="module")
def server() -> Iterator[double.InfluxDouble]:
    with double.serving() as running:
        yield running


class TestHttp:
    def test_the_clients_frames_go_in_and_come_out(self, server: double.InfluxDouble) -> None:
        index = pd.date_range("2026-01-01", periods=50, freq="h", tz="UTC")
        frame = pd.DataFrame(
            {"place": "a b,c", "x": np.linspace(-1, 1, 50), "s": 'say "x", y', "n": range(50)},
            index,
        )
        with InfluxDBClient(
            url=server.url, token=double.TOKEN, org=double.ORG, enable_gzip=True
        ) as client:
            client.write_api(write_options=SYNCHRONOUS).write(
                double.BUCKET,
                record=frame,
                data_frame_measurement_name="m",
                data_frame_tag_columns=["place"],
            )
            flux = (
                f'from(bucket: "{double.BUCKET}")'
                " |> range(start: 2026-01-01T00:00:00Z, stop: 2027-01-01T00:00:00Z)"
                ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
            )
            found = client.query_api().query_data_frame(flux)
        for name in frame:
            assert found[name].tolist() == frame[name].tolist()
        assert found["_time"].tolist() == index.tolist()

    @pytest.mark.parametrize(
        ("path", "token", "status", "code"),
        [
            ("/api/v2/write?bucket=factory&precision=s", "wrong", 401, "unauthorized"),
            ("/api/v2/write?bucket=nowhere&precision=s", double.TOKEN, 404, "not found"),
            ("/api/v2/write?bucket=factory&precision=s", double.TOKEN, 400, "invalid"),
            ("/api/v2/nothing", double.TOKEN, 404, "not found"),
        ],
        ids=["token", "bucket", "line", "path"],
    )
    def test_refusals(
        self, server: double.InfluxDouble, path: str, token: str, status: int, code: str
    ) -> None:
        reply = requests.post(
            server.url + path, b"no line", headers={"Authorization": f"Token {token}"}, timeout=5
        )
        assert (reply.status_code, reply.json()["code"]) == (status, code)

    def test_health_needs_no_token(self, server: double.InfluxDouble) -> None:
        assert requests.get(server.url + "/ping", timeout=5).status_code == 204
        assert json.loads(requests.get(server.url + "/health", timeout=5).text)["status"] == "pass"
