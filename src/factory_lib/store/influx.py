"""The InfluxDB 2.x backend.

Time is the slot's start; place, source, kind, resolution and rev are tags, so that
InfluxDB's rule "same tags and time overwrite" never loses a revision; each series is a
float field, with a text field beside it for what else is known of the value. Reading
takes the raw CSV of a Flux query into Arrow: the client's own frames are an order
slower.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.dialect import Dialect
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError
from urllib3.util.retry import Retry

from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import DAY_S, from_epoch
from factory_lib.errors import ConfigError, StoreError, StoreUnavailable
from factory_lib.files import lock
from factory_lib.settings import InfluxSettings
from factory_lib.settings.secrets import Secret
from factory_lib.slots import to_index
from factory_lib.store import lineprotocol
from factory_lib.store.backend import SCHEMA_VERSION, VERDICT_COLUMNS, Origin, Window, check_stamps
from factory_lib.store.rows import (
    FORECAST,
    MAX_LEAD_S,
    VALUE_COLUMNS,
    Channel,
    Rows,
    encode,
    join,
)

TIMEOUT_MS = 60_000
# A busy server is asked again, one that is not there is not. Every request may be
# repeated: lines overwrite themselves.
RETRIES = Retry(
    3,
    connect=0,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    backoff_factor=1.0,
    raise_on_status=False,
)
LONGER_SHARDS = (
    "Repeat it: what was stored stays. Years of history go faster into a new bucket of longer shards: "
    "`influx bucket create --shard-group-duration 52w`."
)
EARLIEST, LATEST = -9_223_372_036, 9_223_372_036  # what nanoseconds in 64 bits can hold, in seconds
_PLAIN_CSV = Dialect(  # type: ignore[no-untyped-call]
    header=True, delimiter=",", annotations=[], comment_prefix="#", date_time_format="RFC3339"
)
_CODED = pa.dictionary(pa.int32(), pa.string())
_TAGS = ("place", "source", "kind", "res", "rev")
_FORECAST_FIELDS = ("p10", "p50", "p90", "tier", "run")


class InfluxBackend:
    """Rows in one bucket; one writer per measurement among the processes of this machine."""

    def __init__(
        self,
        where: InfluxSettings,
        token: Secret,
        origin: Origin,
        folder: Path,
        catalogue: Catalogue,
    ) -> None:
        self._check(where, token)
        self.where = where
        self.origin = origin
        self._folder = folder
        self._catalogue = catalogue
        self._client = InfluxDBClient(
            url=where.url, token=token.reveal(), org=where.org, timeout=TIMEOUT_MS, retries=RETRIES
        )
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        try:
            self._stamp()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _check(where: InfluxSettings, token: Secret) -> None:
        for name in ("url", "org", "bucket"):
            if not getattr(where, name).strip():
                raise ConfigError(f"INFLUXDB_V2_{name.upper()}", "is not set", file="environment")
        plain = token.reveal()
        if not plain or not plain.isascii() or not plain.isprintable() or " " in plain:
            problem = "holds characters that no token has" if plain else "is not set"
            raise ConfigError("INFLUXDB_V2_TOKEN", problem, file="environment")

    def _stamp(self) -> None:
        """Stamp an empty bucket; compare the stamps of one in use."""
        found = self._table(
            self._from(0, 1) + _where(_measurement=["meta"]) + _keep("_field", "_value"),
            pa.string(),
        )
        stamps = (
            dict(zip(found["_field"].to_pylist(), found["_value"].to_pylist(), strict=True))
            if found
            else {}
        )
        if not stamps:
            stamps = {"schema": str(SCHEMA_VERSION), "world": self.origin}
            fields = ",".join(
                f"{name}={lineprotocol.text_field(text)}" for name, text in stamps.items()
            )
            self._send(f"meta {fields} 0".encode())
        check_stamps(f"Bucket {self.where.bucket}", stamps, self.origin)

    # -- the wire -------------------------------------------------------------------------------------------------

    @contextmanager
    def _reported(self, next_step: str | None = None) -> Iterator[None]:
        place = f"InfluxDB at {self.where.url}"
        try:
            yield
        except ApiException as error:
            if error.status in (400, 413, 422):
                raise StoreError(f"{place} refused the request: {error.body}") from None
            busy = next_step if error.status >= 500 else None
            raise StoreUnavailable(
                f"{place} answered {error.status} {error.reason}.", next_step=busy
            ) from None
        except (HTTPError, OSError) as error:
            reason = error.reason if isinstance(error, MaxRetryError) else error
            slow = next_step if isinstance(reason, ReadTimeoutError) else None
            raise StoreUnavailable(
                f"{place} does not answer: {type(reason).__name__}.", next_step=slow
            ) from error

    def _send(self, lines: bytes) -> None:
        with self._reported(LONGER_SHARDS):
            self._writer.write(self.where.bucket, self.where.org, lines, WritePrecision.S)  # type: ignore[arg-type]

    def _table(self, flux: str, value: Any) -> pa.Table | None:
        """Return a query's rows, all tables as one: ``_value`` as type ``value``, times in seconds, texts coded."""
        with self._reported():
            body = self._client.query_api().query_raw(flux, self.where.org, _PLAIN_CSV).read()
        blocks = body.split(b"\r\n\r\n") if b"\r\n\r\n" in body[:-4] else [body]
        parts = [self._block(block.strip(b"\r\n"), value) for block in blocks if block.strip()]
        return pa.concat_tables(parts).unify_dictionaries().combine_chunks() if parts else None

    def _block(self, block: bytes, value: Any) -> pa.Table:
        """Parse what stands under one header."""
        names = block[: block.find(b"\r\n")].decode().split(",")
        if "error" in names:
            raise StoreUnavailable(f"InfluxDB at {self.where.url} broke off: {block.decode()}.")
        types: dict[str, Any] = dict.fromkeys(names, _CODED)
        types |= {"_value": value, "_time": pa.timestamp("s", "UTC"), "table": pa.int64()}
        options = pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=[name for name in names if name not in ("", "result")],
            strings_can_be_null=False,
        )
        try:
            return pyarrow.csv.read_csv(pa.BufferReader(block), convert_options=options)
        except pa.ArrowException as error:
            raise StoreUnavailable(
                f"{self.where.url} does not answer like InfluxDB: {error}."
            ) from error

    def _from(self, start: int, end: int) -> str:
        first, last = (
            f"{from_epoch(t):%Y-%m-%dT%H:%M:%SZ}" for t in (max(start, EARLIEST), min(end, LATEST))
        )
        return f"from(bucket: {_quoted(self.where.bucket)}) |> range(start: {first}, stop: {last})"

    @contextmanager
    def writing(self, measurement: str) -> Iterator[None]:
        """Wait for the measurement's lock; the kernel releases it when the process ends, however it ends."""
        with lock(self._folder / f"store-{measurement}.lock"):
            yield

    # -- values ---------------------------------------------------------------------------------------------------

    def load(
        self, window: Window, *, columns: Sequence[str] | None = None, first_only: bool = False
    ) -> Rows:
        """Return rows by channel, start and rev."""
        wanted = tuple(columns or VALUE_COLUMNS)
        plain = ("channel", "start", "rev", "value")
        whole = window.as_of is not None or not set(plain).issuperset(wanted)
        parts = []
        for measurement in Measurement:
            names = [
                name for name in window.series if self._catalogue[name].measurement is measurement
            ]
            if names:
                rows, values = self._points(measurement, names, window, first_only, pa.float64())
                rows = rows.having(value=values.to_numpy())
                if whole:
                    begun = replace(
                        window, start=window.start // lineprotocol.RUN_S * lineprotocol.RUN_S
                    )
                    beside = [name + lineprotocol.ABOUT for name in names]
                    rows = lineprotocol.spread(
                        rows, *self._points(measurement, beside, begun, first_only, _CODED)
                    )
                parts.append(rows)
        rows = join(parts, VALUE_COLUMNS if whole else plain)
        if window.as_of is not None:
            rows = rows.take(rows["available_at"] <= window.as_of)
        return Rows(rows.channels, rows.labels, {name: rows[name] for name in wanted})

    def _points(
        self, measurement: str, fields: Sequence[str], window: Window, first_only: bool, value: Any
    ) -> tuple[Rows, Any]:
        """Return the identity of each point, ordered, and the Arrow column of its field."""
        where: dict[str, Sequence[str]] = {"_measurement": [measurement], "_field": fields}
        where |= {} if window.places is None else {"place": window.places}
        where |= {"rev": ["1"]} if first_only else {}
        # What the filter leaves no choice about need not travel with every row.
        fixed = {name: values[0] for name, values in where.items() if len(values) == 1}
        asked = [name for name in ("_field", *_TAGS) if name not in fixed]
        flux = (
            self._from(window.start, window.end)
            + _where(**where)
            + _keep("_time", "_value", *asked)
        )
        table = self._table(flux, value)
        if table is None:
            none = np.empty(0, dtype=np.int64)
            return Rows((), (), {"channel": none, "start": none, "rev": none}), pa.array([], value)
        tags, length = _series_of(table, *asked)
        tags = [fixed | t for t in tags]
        channels = [
            Channel(
                t["_field"].removesuffix(lineprotocol.ABOUT),
                t["place"],
                t["source"],
                t["kind"],
                int(t["res"]),
            )
            for t in tags
        ]
        number = {channel: i for i, channel in enumerate(dict.fromkeys(channels))}
        column = {
            "channel": np.repeat([number[channel] for channel in channels], length),
            "start": table["_time"].cast(pa.int64()).to_numpy(),
            "rev": np.repeat([int(t["rev"]) for t in tags], length),
        }
        rows, values = Rows(tuple(number), (), column), table["_value"].combine_chunks()
        if (np.diff(rows.keys()) > 0).all():
            return rows, values
        order = np.lexsort((rows["rev"], rows.keys()))
        return rows.take(order), values.take(pa.array(order))

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""
        for lines in lineprotocol.value_lines(rows, self._catalogue):
            self._send(lines)

    # -- forecasts and verdicts -----------------------------------------------------------------------------------

    def load_forecasts(self, window: Window) -> Rows:
        """Return forecast rows by channel, target and issue."""
        until = (
            window.end + DAY_S
            if window.as_of is None
            else min(window.end + DAY_S, window.as_of + 1)
        )
        where = {"_measurement": ("forecasts",), "series": window.series}
        where |= {} if window.places is None else {"place": window.places}
        tags = ("series", "place", "model", "res", "lead_min")
        frame = self._pivoted(
            self._from(window.start - MAX_LEAD_S, until) + _where(**where), tags, _FORECAST_FIELDS
        )
        resolution = frame["res"].astype("int64")
        frame["start"] = (
            frame["_time"] // resolution * resolution + frame["lead_min"].astype("int64") * 60
        )
        frame = frame[(frame["start"] >= window.start) & (frame["start"] < window.end)]
        frame = frame.assign(kind=FORECAST, res=frame["res"].astype("int64"))
        distinct, code = encode(frame, ("series", "place", "model", "kind", "res"))
        texts, labels = pd.factorize(pd.concat([frame["run"], frame["tier"]]))
        rows = Rows(
            tuple(Channel(*parts) for parts in distinct),
            tuple(map(str, labels)),
            {
                "channel": code,
                "start": frame["start"].to_numpy(dtype=np.int64),
                "issued_at": frame["_time"].to_numpy(dtype=np.int64),
                **{
                    name: frame[name].astype("float64").to_numpy() for name in ("p10", "p50", "p90")
                },
                "tier": texts[len(frame) :],
                "run": texts[: len(frame)],
            },
        )
        return rows.take(np.lexsort((rows["issued_at"], rows.keys())))

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""
        for lines in lineprotocol.forecast_lines(rows):
            self._send(lines)

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict, oldest first."""
        tags = ("series", "place", "source", "rev", "n")
        fields = ("verdict", "rule", "reason", "at", "by")
        frame = self._pivoted(
            self._from(EARLIEST, LATEST) + _where(_measurement=["verdicts"]), tags, fields
        )
        frame = frame.assign(
            start=to_index(frame["_time"].to_numpy(dtype=np.int64)),
            at=to_index(frame["at"].to_numpy(dtype=np.int64)),
            **{name: frame[name].astype("int64") for name in ("rev", "n")},
        )
        return frame.sort_values(["at", "n"], ignore_index=True)[list(VERDICT_COLUMNS)]

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""
        identity = ["series", "place", "source", "start", "rev"]
        everything = pd.concat([self.load_verdicts()[identity], rows[identity]])
        numbers = everything.groupby(identity).cumcount().to_numpy()[-len(rows) :]
        self._send(lineprotocol.verdict_lines(rows, numbers))

    def _pivoted(self, flux: str, tags: Sequence[str], fields: Sequence[str]) -> pd.DataFrame:
        """Return one row per point: tags and fields as text, ``_time`` in seconds."""
        table = self._table(flux + _keep("_time", "_value", "_field", *tags), pa.string())
        if table is None:
            return pd.DataFrame({"_time": [], **{name: [] for name in (*tags, *fields)}}).astype(
                {"_time": "int64"}
            )
        found, length = _series_of(table, "_field", *tags)
        points = [tuple(t[name] for name in tags) for t in found]
        number = {point: i for i, point in enumerate(dict.fromkeys(points))}
        long = pd.DataFrame(
            {
                "point": np.repeat([number[point] for point in points], length),
                "_time": table["_time"].cast(pa.int64()).to_numpy(),
                "_field": np.repeat([t["_field"] for t in found], length),
                "_value": table["_value"].to_pandas(),
            }
        )
        wide = long.pivot(index=["point", "_time"], columns="_field", values="_value").reindex(
            columns=list(fields)
        )
        tagged = pd.DataFrame(list(number), columns=list(tags)).iloc[
            wide.index.get_level_values("point")
        ]
        return pd.concat([tagged.reset_index(drop=True), wide.reset_index()], axis=1)

    # -- the whole ------------------------------------------------------------------------------------------------

    def channels(self) -> list[Channel]:
        """Return what is stored; the first point of each InfluxDB series is enough to know it."""
        ever = self._from(EARLIEST, LATEST)
        values = self._table(
            ever + _where(_measurement=Measurement) + " |> first()" + _keep("_field", *_TAGS),
            pa.string(),
        )
        found = [] if values is None else values.to_pylist()
        channels = [
            Channel(t["_field"], t["place"], t["source"], t["kind"], int(t["res"]))
            for t in found
            if not t["_field"].endswith(lineprotocol.ABOUT)
        ]
        forecasts = _where(_measurement=["forecasts"], _field=["p50"]) + " |> first()"
        values = self._table(
            ever + forecasts + _keep("_field", "series", "place", "model", "res"), pa.string()
        )
        found = [] if values is None else values.to_pylist()
        channels += [
            Channel(t["series"], t["place"], t["model"], FORECAST, int(t["res"])) for t in found
        ]
        return list(dict.fromkeys(channels))

    def maintain(self) -> None:
        """Leave compaction to the server."""

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()  # type: ignore[no-untyped-call]
        self._client.close()  # type: ignore[no-untyped-call]


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _where(**column: Iterable[object]) -> str:
    """Return one Flux filter per column: it equals one of the values."""
    return "".join(
        f" |> filter(fn: (r) => {' or '.join(f'r.{name} == {_quoted(value)}' for value in values) or 'false'})"
        for name, values in column.items()
    )


def _keep(*columns: str) -> str:
    return f" |> keep(columns: [{', '.join(map(_quoted, columns))}])"


def _series_of(table: pa.Table, *tags: str) -> tuple[list[dict[str, str]], np.ndarray[Any, Any]]:
    """Return the tags of each InfluxDB series in the answer, and how many rows it has there."""
    edge = np.flatnonzero(np.diff(table["table"].to_numpy(), prepend=-1))
    return table.select(tags).take(pa.array(edge)).to_pylist(), np.diff(edge, append=table.num_rows)
