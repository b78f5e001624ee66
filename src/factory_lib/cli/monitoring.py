"""Commands that watch the installation: doctor, health, alerts."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import click

from factory_lib import settings as factory_settings
from factory_lib.cli import simulation
from factory_lib.cli.options import by_option, common_options
from factory_lib.cli.output import records, write, write_json, write_result, write_rows
from factory_lib.clock import SystemClock
from factory_lib.context import open_context
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts as alert_states
from factory_lib.monitoring import diagnostics
from factory_lib.monitoring import health as health_report
from factory_lib.settings import Settings
from factory_lib.state import State, open_state

LONGEST_SILENCE_H = 8784.0  # a year; what is to be silent for longer is better mended

commands = click.Group()


@commands.command("doctor")
@common_options
def doctor(profile: str | None, as_json: bool) -> int:
    """Check keys, providers, store, registry, clock and disk.

    Each line that is not ok says what to do. Exit code 1 where one fails.
    """
    with simulation.ensure_running(factory_settings.load(profile)) as settings:
        report = diagnostics.examine(settings, providers=True)
    if as_json:
        write_json({"status": report.status, "checks": records(report.table())})
    else:
        for check in report.checks:
            remedy = f"\n{'':<31}-> {check.next_step}" if check.next_step else ""
            write(f"{check.status:<6}{check.name:<25}{check.finding}{remedy}")
    return int(report.status == "fail")


@commands.command("health")
@common_options
def health(profile: str | None, as_json: bool) -> int:
    """Show the state of jobs, providers and series."""
    with open_context(profile) as ctx:
        result = health_report.check_health(ctx)
    write_result(result, as_json)
    return int(result.status == "fail")


@commands.group("alerts")
@common_options
def alerts(profile: str | None, as_json: bool) -> None:
    """List, acknowledge, mute or test alerts.

    A NAME is topic/entity; * and ? match.
    """


@alerts.command("list")
@click.option("--all", "every", is_flag=True, help="List resolved ones too.")
@common_options
def list_alerts(profile: str | None, every: bool, as_json: bool) -> None:
    """List open alerts."""
    with open_state(factory_settings.load(profile), read_only=True) as state:
        write_rows(alert_states.alert_rows(state, every=every), as_json)


@alerts.command("ack")
@click.argument("name")
@by_option
@common_options
def acknowledge(profile: str | None, name: str, by: str, as_json: bool) -> None:
    """Acknowledge alerts: silent until they get worse or end."""
    with _state(profile) as (state, _, now):
        count = alert_states.acknowledge(state, name, by, now)
    write_rows([{"acknowledged": count}], as_json)


@alerts.command("mute")
@click.argument("name")
@click.option(
    "--hours",
    type=float,
    default=24.0,
    show_default=True,
    help="Hours of silence.",
)
@common_options
def mute(profile: str | None, name: str, hours: float, as_json: bool) -> None:
    """Mute alerts for some hours."""
    if not 0 < hours <= LONGEST_SILENCE_H:
        raise BadInput(f"--hours is more than 0 and at most {LONGEST_SILENCE_H:g}, not {hours:g}.")
    with _state(profile) as (state, _, now):
        until = now + timedelta(hours=hours)
        count = alert_states.mute(state, name, until)
    write_rows([{"muted": count, "until": until.isoformat()}], as_json)


@alerts.command("test")
@common_options
def test(profile: str | None, as_json: bool) -> None:
    """Send a test through every channel."""
    event = alert_states.Event(
        alert_states.Topic.TEST, "alerts", alert_states.Severity.INFO, "This is a test."
    )
    with _state(profile) as (state, settings, now):
        alert_states.raise_event(state, event, now)
        sent = alert_states.deliver(state, settings, now)
    write_rows(
        sent if as_json else [{"sent": alert_states.message(line)} for line in sent], as_json
    )


@contextmanager
def _state(profile: str | None) -> Iterator[tuple[State, Settings, datetime]]:
    settings = factory_settings.load(profile)
    with open_state(settings) as state:
        yield state, settings, SystemClock(settings.clock_offset_s).now()
