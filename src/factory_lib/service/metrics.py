"""The nine metrics for Prometheus, computed when they are asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from factory_lib.clock import DAY, from_epoch
from factory_lib.context import RunContext
from factory_lib.files import size_mb
from factory_lib.pipeline.gaps import GapReport, SlotState
from factory_lib.service import facts
from factory_lib.service.reading import Reading
from factory_lib.slots import from_index
from factory_lib.state import calls

MINUTES_OF_A_DAY = 1440
QUANTILES = (0.5, 0.95)
UNKNOWN = float("nan")
DEFINITIONS = {
    "scheduler_job_success_rate": "ok / (ok + failed + killed) of each job since yesterday",
    "api_response_time": "Seconds per request of the last 24 hours, by host",
    "data_ingestion_rate": "Values stored per minute in the last 24 hours, by source",
    "gap_detection_accuracy": "Slots missing at re-read / slots reported missing",
    "backfill_success_rate": "Slots recovered, re-read after the write / slots missing, 24 hours",
    "ml_prediction_accuracy": "Errors of issued forecasts, last 28 days, by lead in market days",
    "influxdb_query_time": "Seconds per store operation of the last 24 hours, by kind",
    "mlflow_tracking_latency": "Seconds per tracking call of the last 24 hours, by operation",
    "container_resource_usage": "cpu_seconds and peak_memory_mb of the last run of each job, "
    "disk_mb of the data",
}
Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float]]


def page(reading: Reading) -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(_Metrics(reading))


class _Metrics(Collector):
    """Metrics of one scrape."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, each with its samples."""
        reading = self.reading
        made = reading.get("calls", _calls, ("state",))
        right = reading.get(
            "gap accuracy",
            lambda ctx: _gap_accuracy(ctx, facts.gap_report(reading)),
            ("store",),
            facts.SLOW_S,
        )
        usage = reading.get("resources", lambda ctx: _resources(reading), ("runs", "store"))
        backend = {"backend": reading.settings.store.backend}
        yield _gauge("scheduler_job_success_rate", _success(facts.state_tables(reading)["jobs"]))
        yield _summary("api_response_time", made, "http", "host")
        yield _gauge("data_ingestion_rate", _ingestion(made))
        yield _gauge("gap_detection_accuracy", right)
        yield _gauge("backfill_success_rate", _backfill(made))
        yield _gauge("ml_prediction_accuracy", _accuracy(facts.accuracy(reading)))
        yield _summary("influxdb_query_time", made, "store", "kind", backend)
        yield _summary("mlflow_tracking_latency", made, "registry", "operation")
        yield _gauge("container_resource_usage", usage)


def _gauge(name: str, samples: Samples) -> Metric:
    metric = GaugeMetricFamily(name, DEFINITIONS[name])
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


def _calls(ctx: RunContext) -> pd.DataFrame:
    rows = calls.calls_since(ctx.state, ctx.clock.now() - DAY)
    return pd.DataFrame(rows, columns=calls.Call._fields)


def _summary(
    name: str,
    made: pd.DataFrame,
    component: str,
    label: str,
    more: Mapping[str, str] | None = None,
) -> Metric:
    """Return count, sum and quantiles of the seconds of one component's calls by target."""
    metric = Metric(name, DEFINITIONS[name], "summary")
    mine = made[made["component"] == component]
    for target, rows in mine.groupby("target"):
        labels = {label: str(target), **(more or {})}
        seconds = rows["duration_ms"].to_numpy(float) / 1000
        for quantile in QUANTILES:
            at = {**labels, "quantile": f"{quantile:g}"}
            metric.add_sample(name, at, float(np.quantile(seconds, quantile)))
        metric.add_sample(f"{name}_count", labels, float(len(seconds)))
        metric.add_sample(f"{name}_sum", labels, float(seconds.sum()))
    return metric


def _success(jobs: pd.DataFrame) -> Samples:
    for job, rate in zip(jobs["job"], jobs["success_rate"], strict=True):
        yield {"job": str(job)}, float(rate)


def _ingestion(made: pd.DataFrame) -> Samples:
    stored = made[made["component"] == "ingest"].groupby("target")["rows"].sum()
    for source, rows in stored.items():
        yield {"source": str(source)}, float(rows) / MINUTES_OF_A_DAY


def _backfill(made: pd.DataFrame) -> Samples:
    """Yield recovered / missing by source and by severity."""
    slots = made[made["component"] == "backfill"]
    counts = slots.pivot_table(
        index="target", columns="status", values="rows", aggfunc="sum", fill_value=0
    ).reindex(columns=["missing", "recovered"], fill_value=0)
    for target, row in counts.iterrows():
        by, _, name = str(target).partition(" ")
        rate = row["recovered"] / row["missing"] if row["missing"] else UNKNOWN
        yield {by: name}, float(rate)


def _gap_accuracy(ctx: RunContext, report: GapReport) -> list[tuple[Labels, float]]:
    """Return the share of slots reported missing of which ``Store.read`` shows no value either."""
    totals: Counter[str] = Counter()
    for part in report.coverages:
        missing = part.coverage.starts[part.coverage.states == SlotState.MISSING]
        if len(missing):
            rows = ctx.store.read(
                part.target.name,
                places=part.target.places,
                start=from_epoch(int(missing[0])),
                end=from_epoch(int(missing[-1]) + 1),
                as_of=report.as_of,
            )
            totals["reported"] += len(missing)
            totals["right"] += int((~np.isin(missing, from_index(rows["start"]))).sum())
    reported = totals["reported"]
    return [({}, totals["right"] / reported if reported else UNKNOWN)]


def _accuracy(table: pd.DataFrame) -> Samples:
    for row in table.to_dict("records"):
        labels = {"series": row["series"], "model": row["model"], "lead": str(row["lead_days"])}
        for measure in ("mae", "naive_mae", "rmae"):
            yield {**labels, "measure": measure}, float(row[measure])


def _resources(reading: Reading) -> list[tuple[Labels, float]]:
    samples: list[tuple[Labels, float]] = []
    newest = {row.job: row for row in reversed(reading.runs.all())}
    for job, row in sorted(newest.items()):
        values: dict[str, Any] = {
            "cpu_seconds": row.cpu_seconds,
            "peak_memory_mb": row.peak_memory_mb,
        }
        samples += [
            ({"job": job, "resource": name}, float(value))
            for name, value in values.items()
            if value is not None
        ]
    disk_mb = round(size_mb(reading.settings.paths.data), 1)
    return [*samples, ({"resource": "disk_mb", "job": ""}, disk_mb)]
