"""Commands that watch, keep and serve the installation: doctor, health, backups, cron, pages."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import click
import pandas as pd

from factory_lib import settings as factory_settings
from factory_lib.admin import backup, cron, maintenance
from factory_lib.cli.common import (
    Rows,
    by_option,
    common_options,
    in_context,
    write,
    write_either,
    write_result,
    write_rows,
)
from factory_lib.clock import SystemClock
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.models.tracking import VIEW, experiment_pages
from factory_lib.monitoring import alerts, diagnostics, health
from factory_lib.runs import simulation
from factory_lib.settings import Settings
from factory_lib.settings.records import BackendName
from factory_lib.state import State, open_state

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LONGEST_SILENCE_H = 8784.0  # a year; what is to be silent for longer is better mended

SHOWN_OF_HEALTH = ("jobs", "calls", "latest", "alerts")  # the checks are lines
SENTENCES_OF_JOBS = ["waiting", "due_because", "summary"]  # too wide for a table: `factory jobs`

commands = click.Group()
bucket_option = click.option(
    "--bucket", default="", help="A bucket of InfluxDB other than INFLUXDB_V2_BUCKET."
)


@commands.command("doctor")
@common_options
def doctor(profile: str | None, as_json: bool) -> int:
    """Check keys, providers, store, registry, clock and disk.

    Each line that is not ok says what to do. Exit code 1 where one fails.
    """
    settings = factory_settings.load(profile)
    try:
        with simulation.ensure_running(settings) as running:
            checks = diagnostics.examine(running, providers=True, notify=False)
    except diagnostics.UNUSABLE as error:  # no simulator can be started here
        checks = diagnostics.examine(settings, notify=False)
        checks.append(diagnostics.refused("providers", settings.paths.hosts, error))
    status = diagnostics.worst(checks)
    write_either(as_json, {"status": status, "checks": checks}, _lines(checks))
    return int(status == "fail")


def _lines(checks: Iterable[Any]) -> str:
    """Return checks as lines, each with its next step below."""
    lines = []
    for check in checks:
        remedy = f"\n{'':<31}-> {check.next_step}" if check.next_step else ""
        lines.append(f"{check.status:<6}{check.name:<25}{check.finding}{remedy}")
    return "\n".join(lines)


@commands.command("health")
@common_options
def show_health(profile: str | None, as_json: bool) -> int:
    """Show the state of jobs, providers and series.

    Exit code 1 where anything is not ok.
    """
    result = health.look(factory_settings.load(profile))
    if as_json:
        write_result(result, as_json)
    else:
        jobs = result["jobs"].drop(columns=SENTENCES_OF_JOBS)
        shown = replace(result, tables={**result.tables, "jobs": jobs})
        write_result(shown, as_json, *SHOWN_OF_HEALTH)
        write(f"\nchecks:\n{_lines(result['checks'].itertuples())}")
    return int(result.status != "ok")


@commands.group("alerts")
@common_options
def alert_commands(profile: str | None, as_json: bool) -> None:
    """List, acknowledge, mute or test alerts.

    A NAME is topic/entity; * and ? match.
    """


@alert_commands.command("list")
@click.option("--all", "every", is_flag=True, help="List resolved ones too.")
@common_options
def list_alerts(profile: str | None, every: bool, as_json: bool) -> None:
    """List open alerts."""
    with open_state(factory_settings.load(profile), read_only=True) as state:
        write_rows(alerts.alert_rows(state, every=every), as_json)


@alert_commands.command("ack")
@click.argument("name")
@by_option
@common_options
def acknowledge(profile: str | None, name: str, by: str, as_json: bool) -> None:
    """Acknowledge alerts: silent until they get worse or end."""
    with _state(profile) as (_, state, now):
        write_rows([{"acknowledged": alerts.acknowledge(state, name, by, now)}], as_json)


@alert_commands.command("mute")
@click.argument("name")
@click.option("--hours", type=float, default=24.0, show_default=True, help="Hours of silence.")
@common_options
def mute(profile: str | None, name: str, hours: float, as_json: bool) -> None:
    """Mute alerts for some hours."""
    if not 0 < hours <= LONGEST_SILENCE_H:
        raise BadInput(f"--hours is more than 0 and at most {LONGEST_SILENCE_H:g}, not {hours:g}.")
    with _state(profile) as (_, state, now):
        until = now + timedelta(hours=hours)
        count = alerts.mute(state, name, until)
    write_rows([{"muted": count, "until": until.isoformat()}], as_json)


@alert_commands.command("test")
@common_options
def test(profile: str | None, as_json: bool) -> None:
    """Send a test through every channel."""
    event = alerts.Event("test", "alerts", alerts.Severity.INFO, "This is a test.")
    with _state(profile) as (settings, state, now):
        alerts.raise_event(state, event, now)
        sent = alerts.deliver(state, settings, now)
    write_either(as_json, sent, "\n".join(f"sent {alerts.message(line)}" for line in sent))


@contextmanager
def _state(profile: str | None) -> Iterator[tuple[Settings, State, datetime]]:
    settings = factory_settings.load(profile)
    with open_state(settings) as state:
        yield settings, state, SystemClock(settings.clock_offset_s).now()


@commands.group("backup", invoke_without_command=True)
@click.pass_context
@common_options
def backups(group: click.Context, /, **options: Any) -> None:
    """Back up store, state and champions while jobs go on; list or verify."""
    if group.invoked_subcommand is None:
        group.invoke(take_backup, **options)


@backups.command("take")
@in_context()
def take_backup(ctx: RunContext) -> Rows:
    """Back up store, state and champions while jobs go on."""
    return [{"backup": str(backup.take_backup(ctx))}]


@backups.command("list")
@common_options
def list_backups(profile: str | None, as_json: bool) -> None:
    """List the complete backups, newest first."""
    folders = backup.list_backups(factory_settings.load(profile))
    write_rows([{"backup": str(folder)} for folder in folders], as_json)


@backups.command("verify")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@common_options
def verify_backup(profile: str | None, folder: Path | None, as_json: bool) -> None:
    """Restore a backup into a temporary folder and compare; by default the newest."""
    source, inventory = backup.verify(factory_settings.load(profile), folder)
    rows = int(inventory["rows"].sum())
    write_rows([{"verified": str(source), "rows": rows, "checksums": "equal"}], as_json)


@commands.command("restore")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask whether to replace what is there.")
@common_options
def restore_backup(profile: str | None, folder: Path | None, yes: bool, as_json: bool) -> None:
    """Restore a backup, after checking it; what it replaces is kept aside.

    FOLDER is the newest one by default.
    """
    settings = factory_settings.load(profile)
    source, _ = backup.select_backup(settings, folder)
    if not yes:
        _confirm(f"Replace store, state and champions of {settings.profile} by those of {source}?")
    restored = backup.restore_backup(settings, SystemClock(settings.clock_offset_s), source)
    row = {
        "restored": str(restored.source),
        "rows": int(restored.inventory["rows"].sum()),
        "checksums": "equal",
        "champions": ", ".join(restored.models) or "as they are",
        "kept_aside": str(restored.aside or ""),
        "notes": " ".join(restored.notes),
    }
    write_rows([row], as_json)


def _confirm(question: str) -> None:
    """Go on only if a person agrees.

    Raises
    ------
    BadInput
        If no person can be asked.
    click.Abort
        If they do not.
    """
    if not sys.stdin.isatty():
        raise BadInput("A restore replaces what is there.", next_step="Add --yes to agree.")
    click.confirm(question, abort=True, err=True)


@commands.command("copy")
@click.option(
    "--to",
    "backend",
    type=click.Choice(get_args(BackendName)),
    required=True,
    help="The backend that receives everything.",
)
@bucket_option
@in_context()
def copy(ctx: RunContext, backend: BackendName, bucket: str) -> pd.DataFrame:
    """Copy the store into another backend; repeating it completes it."""
    return maintenance.copy_to(ctx, backend, bucket)


@commands.group("store")
@common_options
def store_commands(profile: str | None, as_json: bool) -> None:
    """Make the profile's store: file, InfluxDB bucket or PostgreSQL schema."""


@store_commands.command("create")
@bucket_option
@common_options
def create(profile: str | None, bucket: str, as_json: bool) -> None:
    """Make the store where it is missing: in InfluxDB a bucket that keeps all it gets."""
    write_rows([maintenance.make_store(factory_settings.load(profile), bucket)], as_json)


@commands.group("cron")
@common_options
def cron_block(profile: str | None, as_json: bool) -> None:
    """Show, install or remove the block of the user's crontab; run it where there is none."""


@cron_block.command("show")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(cron.UNIT_FORMATS),
    default=cron.UNIT_FORMATS[0],
    show_default=True,
    help="The block that `install` would write, or the units of systemd or Podman's Quadlet.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Write the files into this folder.",
)
@common_options
def show_cron(
    profile: str | None, fmt: cron.UnitFormat, folder: Path | None, as_json: bool
) -> None:
    """Show the schedule as a crontab or as units, or write its files."""
    settings = factory_settings.load(profile)
    if folder:
        write_rows([{"written": name} for name in cron.write_files(settings, fmt, folder)], as_json)
        return
    made = cron.files(settings, fmt)
    head = "# {}\n" if len(made) > 1 else ""
    texts = [head.format(name) + text.rstrip("\n") for name, text in made.items()]
    write_either(as_json, made, "\n\n".join(texts))


@cron_block.command("run")
@common_options
def run_cron(profile: str | None, as_json: bool) -> None:
    """Call the jobs at their times until stopped, in place of cron: for containers."""
    settings = factory_settings.load(profile)
    write(f"Calling {len(cron.scheduled(settings))} jobs of profile {settings.profile}.")
    cron.call_jobs(settings)


@cron_block.command("install")
@common_options
def install_cron(profile: str | None, as_json: bool) -> None:
    """Install the block at the end of the crontab, in place of an earlier one."""
    settings = factory_settings.load(profile)
    write(
        f"{cron.install(settings)} jobs installed; they log to {settings.paths.data / 'cron.log'}."
    )


@cron_block.command("remove")
@common_options
def remove_cron(profile: str | None, as_json: bool) -> None:
    """Remove the block from the crontab."""
    settings = factory_settings.load(profile)
    cron.remove(settings)
    write(f"No job of {settings.paths.root}, profile {settings.profile}, is scheduled any more.")


@commands.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--behind-proxy", is_flag=True, help="A proxy before it asks for passwords.")
@common_options
def serve(profile: str | None, host: str, port: int, behind_proxy: bool, as_json: bool) -> None:
    """Serve the live page, the JSON API and the metrics; nothing is written."""
    from factory_lib.service.app import serve as run
    from factory_lib.service.reading import Reading

    reading = Reading(profile)
    write(f"http://{host}:{port}/ · profile {reading.settings.profile} · Ctrl-C ends it")
    run(reading, host, port, behind_proxy=behind_proxy)


@commands.command("mlflow")
@click.option("--port", type=int, default=5000, show_default=True, help="Port of the server.")
@common_options
def mlflow_pages(profile: str | None, port: int, as_json: bool) -> int:
    """Serve the MLflow pages on 127.0.0.1.

    The server and its workers end with this command. Where MLFLOW_TRACKING_URI names a
    server, its pages are there already.
    """
    settings = factory_settings.load(profile)
    if settings.tracking_uri.startswith("http"):
        write(f"The pages are at {settings.secrets.mask(settings.tracking_uri)}.")
        return 0
    pages = f"http://127.0.0.1:{port}"
    write(f"Ctrl-C ends the server of {pages}/#/experiments?{VIEW}")
    for kind, page in experiment_pages(settings, pages).items():
        write(f"{kind}: {page}")
    paths = settings.paths
    program = str(Path(sys.executable).with_name("mlflow"))
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    models = ["--artifacts-destination", str(paths.mlflow_artifacts)]
    # its job workers are for what nothing here uses: seven processes
    options = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **options}
    # whose password the list of processes would show
    environment["MLFLOW_BACKEND_STORE_URI"] = settings.tracking_uri or paths.mlflow_uri
    return _run_group([program, "server", *address, *models], environment)


def _run_group(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a program until it or this command ends, and end all of its processes with it."""
    like_ctrl_c = signal.default_int_handler
    before = {number: signal.signal(number, like_ctrl_c) for number in ENDING_SIGNALS}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        for number, handler in before.items():
            signal.signal(number, handler)
