"""The InfluxDB 2.x backend.

Time is the slot's start; place, source, kind, resolution and rev are tags, so that
InfluxDB's rule "same tags and time overwrite" never loses a revision; each series is a
float field, and what else is known of a value is in a measurement of its own, so that
sums and means of a measurement do not meet a text. Points of others are left alone.
Reading takes the raw CSV of a Flux query into Arrow: the client's own frames are an
order slower.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.dialect import Dialect
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError
from urllib3.util.retry import Retry

from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import DAY_S, from_epoch
from factory_lib.errors import (
    ConfigError,
    FactoryError,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
)
from factory_lib.files import lock
from factory_lib.frames import QUANTILES
from factory_lib.settings import InfluxSettings
from factory_lib.settings.secrets import Secret
from factory_lib.slots import to_index
from factory_lib.store import lineprotocol
from factory_lib.store.backend import (
    FORECAST,
    JUDGED,
    MAX_LEAD_S,
    SCHEMA_VERSION,
    VALUE_COLUMNS,
    VERDICT_COLUMNS,
    Backend,
    Channel,
    Origin,
    Rows,
    Window,
    check_stamps,
    encode,
)
from factory_lib.store.lineprotocol import ABOUT, RUN_S

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
SHARD_S = 52 * 7 * DAY_S  # years in shards of a week, the default, are hundreds of files to open
LONGER_SHARDS = (
    "Repeat it: what was stored stays. Years of history go faster into a bucket that "
    "`factory store create` made: its shards are longer."
)
LAYOUT = ".2"  # beside the schema's number; layout 1 has texts beside the values
OLD_SUFFIX = "_about"  # of the fields that held them
MANY = 50  # values that a filter compares one by one; more are one pattern
LATEST = 9_223_372_036  # s, to either side of 1970: what nanoseconds in 64 bits can hold
_PLAIN_CSV = Dialect(  # type: ignore[no-untyped-call]
    header=True, delimiter=",", annotations=[], comment_prefix="#", date_time_format="RFC3339"
)
_CODED = pa.dictionary(pa.int32(), pa.string())
_TAGS = ("place", "source", "kind", "res", "rev")
_FORECAST_TAGS = ("series", "place", "model", "res", "lead_min")
_FORECAST_FIELDS = (*QUANTILES, "tier", "run")
_PIVOT = ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'


class InfluxBackend(Backend):
    """Rows in one bucket; one writer per measurement among the processes of this machine.

    Parameters
    ----------
    lazy : bool
        An empty bucket is stamped by the first write.
    """

    def __init__(
        self,
        where: InfluxSettings,
        token: Secret,
        origin: Origin,
        folder: Path,
        catalogue: Catalogue,
        *,
        lazy: bool = False,
    ) -> None:
        self.where = where
        self.origin = origin
        self._folder = folder
        self._catalogue = catalogue
        self._client = _client(where, token)
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._stamped = False
        self._old = False
        try:
            self._compare_stamps(lazy=lazy)
        except BaseException:
            self.close()
            raise

    def _compare_stamps(self, *, lazy: bool = False) -> None:
        """Compare the stamps of a bucket in use; stamp an empty one, unless ``lazy``."""
        query = self._from(0, 1) + _where(_measurement=["meta"])
        table = self._table(query, ("_field", "_value"))
        stamps = dict(table.select(["_field", "_value"]).to_pandas().astype("str").to_numpy())
        if not stamps and not lazy:
            stamps = {"schema": f"{SCHEMA_VERSION}{LAYOUT}", "world": self.origin}
            fields = [f"{name}={lineprotocol.text_field(text)}" for name, text in stamps.items()]
            self._send(f"meta {','.join(fields)} 0".encode())
        self._stamped = bool(stamps)
        self._old = stamps.get("schema") == str(SCHEMA_VERSION)
        if stamps:
            layout = "" if self._old else LAYOUT
            check_stamps(f"Bucket {self.where.bucket}", stamps, self.origin, layout)

    def probe(self) -> None:
        """Try to write: one point of measurement ``meta``, beside the stamps.

        Raises
        ------
        ConfigError
            If the server refuses it.
        """
        self._send(b"meta probe=1 1")

    # -- the wire -----------------------------------------------------------------------------

    def _send(self, lines: bytes) -> None:
        where = self.where
        with _reported(where, LONGER_SHARDS):
            self._writer.write(
                where.bucket,
                where.org,
                lines,
                write_precision="s",  # type: ignore[arg-type]
            )

    def _table(self, flux: str, columns: Sequence[str], value: Any = _CODED) -> pa.Table:
        """Return columns of a query's rows, all tables as one.

        ``_value`` is of type ``value``, times are in seconds, texts coded; ``table``
        numbers the tables.
        """
        if _PIVOT not in flux:
            flux += _keep(*columns)
        with _reported(self.where):
            body = self._client.query_api().query_raw(flux, self.where.org, _PLAIN_CSV).read()
        types = {"table": pa.int64(), **dict.fromkeys(columns, _CODED)}
        types |= {"_value": value} if "_value" in columns else {}
        types |= {"_time": pa.timestamp("s", "UTC")} if "_time" in columns else {}
        blocks = (block.strip(b"\r\n") for block in body.split(b"\r\n\r\n"))
        parts = [self._block(block, types) for block in blocks if block]
        tables = [pa.schema(types).empty_table(), *parts]
        return pa.concat_tables(tables).unify_dictionaries().combine_chunks()

    def _block(self, block: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        """Parse the rows under one header; a field that none of them has is unknown."""
        if b"table" not in block.partition(b"\r\n")[0].split(b","):
            text = block.decode(errors="replace")
            raise StoreUnavailable(f"InfluxDB at {self.where.url} broke off: {text}.")
        options = pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            include_missing_columns=True,
            strings_can_be_null=True,
            null_values=[""],
        )
        try:
            return pyarrow.csv.read_csv(pa.BufferReader(block), convert_options=options)
        except pa.ArrowException as error:
            raise StoreUnavailable(
                f"{self.where.url} does not answer like InfluxDB: {error}."
            ) from error

    def _from(self, start: int, end: int) -> str:
        limits = [min(max(t, -LATEST), LATEST) for t in (start, end)]
        if limits[0] >= limits[1]:  # InfluxDB refuses an empty range: ask for a second of nothing
            limits = [LATEST - 1, LATEST]
        first, last = (f"{from_epoch(limit):%Y-%m-%dT%H:%M:%SZ}" for limit in limits)
        return f"from(bucket: {_quoted(self.where.bucket)}) |> range(start: {first}, stop: {last})"

    @contextmanager
    def writing(self, measurement: str) -> Iterator[None]:
        """Wait for the measurement's lock.

        The kernel releases it when the process ends, however it ends.
        """
        if not self._stamped:
            self._compare_stamps()
        if self._old:
            raise SchemaMismatch(
                f"Bucket {self.where.bucket} has texts beside its values, as an earlier version "
                "wrote them: it is read, and not written.",
                next_step="Copy it: `factory store create --bucket NEW`, `factory copy --to "
                "influx --bucket NEW`, then set INFLUXDB_V2_BUCKET=NEW.",
            )
        with lock(self._folder / f"store-{measurement}.lock"):
            yield

    # -- values -------------------------------------------------------------------------------

    def load(self, window: Window, columns: Sequence[str] = VALUE_COLUMNS) -> Rows:
        """Return rows by channel, start and rev."""
        rows, values = self._points(window, self._measurements(window), "_field", pa.float64())
        rows = rows.having(value=values.to_numpy())
        if window.as_of is not None or not {"channel", "start", "rev", "value"}.issuperset(columns):
            longer = replace(window, start=window.start // RUN_S * RUN_S)
            rows = lineprotocol.expand(rows, *self._abouts(longer))
        if window.as_of is not None:
            rows = rows.take(rows["available_at"] <= window.as_of)
        return rows

    def _abouts(self, window: Window) -> tuple[Rows, pa.Array]:
        """Return the identity of each text on values, ordered, and the texts."""
        if self._old:
            values = self._measurements(window)
            return self._points(window, values, "_field", _CODED, OLD_SUFFIX)
        return self._points(window, [ABOUT], "series", _CODED)

    def _measurements(self, window: Window) -> list[str]:
        return sorted({self._catalogue[name].measurement for name in window.series})

    def _points(
        self,
        window: Window,
        measurements: Sequence[str],
        named_by: str,
        value: pa.DataType,
        suffix: str = "",
    ) -> tuple[Rows, pa.Array]:
        """Return the identity of each point, ordered, and its value.

        ``named_by`` is the column that has the series: the field of values, a tag of texts.
        """
        where: dict[str, Sequence[str]] = {
            named_by: [name + suffix for name in window.series],
            "place": window.places,
        }
        flux = self._from(window.start, window.end) + _where(_measurement=measurements, **where)
        flux += _having(*_TAGS[1:])
        # What the filter leaves no choice about need not travel with every row.
        fixed = {name: values[0] for name, values in where.items() if len(values) == 1}
        tags = [name for name in (named_by, *_TAGS) if name not in fixed]
        table = self._table(flux, ("_time", "_value", *tags), value)
        begin = np.flatnonzero(np.diff(table["table"].to_numpy(), prepend=-1))
        size = np.diff(begin, append=len(table))
        series = [fixed | part for part in table.select(tags).take(begin).to_pylist()]
        channel_of = [_channel(part, part[named_by].removesuffix(suffix)) for part in series]
        channels = list(dict.fromkeys(channel_of))
        numbers = np.array(list(map(channels.index, channel_of)), dtype=np.int64)
        revs = np.array([int(part["rev"]) for part in series], dtype=np.int64)
        column = {
            "channel": np.repeat(numbers, size),
            "start": table["_time"].cast(pa.int64()).to_numpy(),
            "rev": np.repeat(revs, size),
        }
        rows = Rows(tuple(channels), column)
        order = np.lexsort((rows["rev"], rows.keys()))
        return rows.take(order), table["_value"].combine_chunks().take(order)

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""
        for lines in lineprotocol.value_lines(rows, self._catalogue):
            self._send(lines)

    # -- forecasts and verdicts ---------------------------------------------------------------

    def load_forecasts(self, window: Window) -> Rows:
        """Return forecast rows by channel, target and issue."""
        end = window.end + DAY_S
        if window.as_of is not None:
            end = min(end, window.as_of + 1)
        flux = self._from(window.start - MAX_LEAD_S, end) + _where(
            _measurement=["forecasts", ABOUT], series=window.series, place=window.places
        )
        frame = self._pivoted(flux, _FORECAST_TAGS, _FORECAST_FIELDS)
        frame = frame[frame["p50"].notna()]
        types = {"res": "int64", "lead_min": "int64", **dict.fromkeys(QUANTILES, "float64")}
        frame = frame.astype(types).assign(kind=FORECAST)
        slot = frame["_time"] // frame["res"] * frame["res"]
        frame["start"] = slot + frame["lead_min"] * 60
        frame = frame[(frame["start"] >= window.start) & (frame["start"] < window.end)]
        distinct, code = encode(frame, ("series", "place", "model", "kind", "res"))
        column = {
            "channel": code,
            "start": frame["start"].to_numpy(),
            "issued_at": frame["_time"].to_numpy(),
            **{name: frame[name].to_numpy() for name in QUANTILES},
            **{name: frame[name].fillna("").array for name in ("run", "tier")},
        }
        rows = Rows(tuple(Channel(*parts) for parts in distinct), column)
        return rows.take(np.lexsort((rows["issued_at"], rows.keys())))

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""
        for lines in lineprotocol.forecast_lines(rows):
            self._send(lines)

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict, oldest first."""
        flux = self._from(-LATEST, LATEST) + _where(_measurement=["verdicts"])
        tags = ("series", "place", "source", "rev", "n")
        frame = self._pivoted(flux, tags, ("verdict", "rule", "reason", "at", "by"))
        frame = frame.astype(dict.fromkeys(("rev", "n", "at"), "int64"))
        frame = frame.sort_values(["at", "n"], ignore_index=True)
        times = {
            "start": to_index(frame["_time"].to_numpy()),
            "at": to_index(frame["at"].to_numpy()),
        }
        return frame.assign(**times)[list(VERDICT_COLUMNS)].fillna({"reason": ""})

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""
        identity = list(JUDGED)
        everything = pd.concat([self.load_verdicts()[identity], rows[identity]])
        numbers = everything.groupby(identity).cumcount().iloc[-len(rows) :]
        self._send(lineprotocol.verdict_lines(rows, numbers.to_list()))

    def _pivoted(self, flux: str, tags: Sequence[str], fields: Sequence[str]) -> pd.DataFrame:
        """Return one row per point: tags and fields as text, ``_time`` in seconds."""
        flux += _having(*tags) + _keep("_time", "_value", "_field", *tags) + _PIVOT
        table = self._table(flux, ("_time", *tags, *fields))
        texts: pd.DataFrame = table.select([*tags, *fields]).to_pandas().astype("str")
        return texts.assign(_time=table["_time"].cast(pa.int64()).to_numpy())

    # -- the whole ----------------------------------------------------------------------------

    def channels(self) -> list[Channel]:
        """Return all channels; the first point of each InfluxDB series is enough to know it."""
        values = self._distinct(Measurement, ("_field", *_TAGS))
        channels = [_channel(p, p["_field"]) for p in values if p["_field"] in self._catalogue]
        forecasts = self._distinct(["forecasts"], _FORECAST_TAGS)
        channels += [
            Channel(p["series"], p["place"], p["model"], FORECAST, int(p["res"])) for p in forecasts
        ]
        return list(dict.fromkeys(channels))

    def _distinct(
        self, measurements: Iterable[object], columns: Sequence[str]
    ) -> list[dict[str, str]]:
        flux = self._from(-LATEST, LATEST) + _where(_measurement=measurements)
        points: list[dict[str, str]] = self._table(
            f"{flux}{_having(*columns)} |> first()", columns
        ).to_pylist()
        return points

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()  # type: ignore[no-untyped-call]
        self._client.close()  # type: ignore[no-untyped-call]


def create_bucket(where: InfluxSettings, token: Secret) -> bool:
    """Make the bucket, which keeps all it gets in long shards; return False if it is there.

    Raises
    ------
    ConfigError
        If the token may not make buckets, or there is no such organisation.
    """
    forever = BucketRetentionRules(  # type: ignore[no-untyped-call]
        type="expire", every_seconds=0, shard_group_duration_seconds=SHARD_S
    )
    with _client(where, token) as client, _reported(where):
        api = client.buckets_api()
        missing = api.find_bucket_by_name(where.bucket) is None
        if missing:
            api.create_bucket(bucket_name=where.bucket, org=where.org, retention_rules=forever)
    return missing


def _client(where: InfluxSettings, token: Secret) -> InfluxDBClient:
    for name in ("url", "org", "bucket"):
        if not getattr(where, name).strip():
            raise _setting(name, "is not set")
    plain = token.reveal()
    if not plain or not plain.isascii() or not plain.isprintable() or " " in plain:
        raise _setting("token", "holds characters that no token has" if plain else "is not set")
    return InfluxDBClient(
        url=where.url, token=plain, org=where.org, timeout=TIMEOUT_MS, retries=RETRIES
    )


@contextmanager
def _reported(where: InfluxSettings, next_step: str | None = None) -> Iterator[None]:
    place = f"InfluxDB at {where.url}"
    try:
        yield
    except ApiException as error:
        raise _refusal(where, error, next_step) from None
    except InfluxDBError as error:  # the client's own, when it looks up the organisation
        raise _setting("org", f"{where.org}: {error}".rstrip(".")) from None
    except (HTTPError, OSError) as error:
        reason = error.reason if isinstance(error, MaxRetryError) else error
        slow = next_step if isinstance(reason, ReadTimeoutError) else None
        raise StoreUnavailable(
            f"{place} does not answer: {type(reason).__name__}.", next_step=slow
        ) from error


def _refusal(where: InfluxSettings, error: ApiException, next_step: str | None) -> FactoryError:
    """Return the error for an answer that is not one of success: what to correct, or do."""
    status = error.status
    place = f"InfluxDB at {where.url}"
    try:
        reason = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        reason = str(error.reason)
    if status in (401, 403):
        return _setting("token", f"is refused for bucket {where.bucket}: {reason} ({status})")
    if status in (400, 404) and "organization" in reason:  # 400 is a query's answer, 404 a write's
        return _setting("org", f"{where.org}: {reason}")
    if status == 404:
        if "bucket" in reason:
            return _setting("bucket", f"{where.bucket}: {reason}; `factory store create` makes it")
        return _setting("url", f"{where.url} answers, and not like InfluxDB 2.x: {reason}")
    if status == 422 and "retention" in reason:
        return _setting("bucket", f"{where.bucket} does not keep all it gets: {reason}")
    if status in (400, 413, 422):
        return StoreError(f"{place} refused the request: {reason}.")
    return StoreUnavailable(f"{place} answered {status} {error.reason}.", next_step=next_step)


def _setting(name: str, problem: str) -> ConfigError:
    return ConfigError(f"INFLUXDB_V2_{name.upper()}", problem, file="environment")


def _channel(tags: dict[str, str], series: str) -> Channel:
    """Return the channel of an InfluxDB series."""
    return Channel(series, tags["place"], tags["source"], tags["kind"], int(tags["res"]))


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _where(**column: Iterable[object]) -> str:
    """Return one Flux filter per column: it equals one of the values."""
    filters = []
    for name, values in column.items():
        texts = list(map(str, values))
        condition = " or ".join([f"r.{name} == {_quoted(text)}" for text in texts])
        if len(texts) > MANY:  # a chain of a thousand comparisons is more than Flux parses
            pattern = "|".join(map(re.escape, texts)).replace("/", r"\/")
            condition = f"r.{name} =~ /^(?:{pattern})$/"
        filters.append(f" |> filter(fn: (r) => {condition or 'false'})")
    return "".join(filters)


def _having(*tags: str) -> str:
    """Return a Flux filter: the tags are there, which sets points of others aside."""
    condition = " and ".join([f'r.{name} != ""' for name in tags])
    return f" |> filter(fn: (r) => {condition})"


def _keep(*columns: str) -> str:
    return f" |> keep(columns: [{', '.join(map(_quoted, columns))}])"
