"""The command of the shift leader: plan."""

from collections.abc import Sequence
from typing import Literal

import click

from factory_lib.cli.options import as_of_option, common_options
from factory_lib.cli.output import records, write, write_json
from factory_lib.context import open_context
from factory_lib.monitoring import plan_alerts
from factory_lib.planning import daily, overrides

commands = click.Group()


@commands.command("plan")
@click.option(
    "--day", default="", help="First day: today (from now on), tomorrow (default), or a date."
)
@click.option("--days", type=int, default=1, show_default=True, help="Local days, 1 to 7.")
@click.option(
    "--pin",
    "pins",
    nargs=3,
    multiple=True,
    metavar="VARIANT STAGE WHEN",
    help="A batch begins this stage then; local times, 14:30 or 2026-01-31T14:30.",
)
@click.option(
    "--out",
    "outages",
    nargs=2,
    multiple=True,
    metavar="MACHINE UNTIL",
    help="A machine is out of order until then.",
)
@click.option(
    "--order",
    "orders",
    nargs=3,
    multiple=True,
    metavar="VARIANT KG DUE",
    help="Extra kilograms, finished by then.",
)
@click.option(
    "--clear",
    is_flag=True,
    help="Remove earlier overrides; otherwise each stays until its time.",
)
@click.option(
    "--language",
    type=click.Choice(["es", "en"]),
    default="es",
    show_default=True,
    help="Language of the shift brief.",
)
@as_of_option
@common_options
def plan(
    profile: str | None,
    day: str,
    days: int,
    pins: Sequence[Sequence[str]],
    outages: Sequence[Sequence[str]],
    orders: Sequence[Sequence[str]],
    clear: bool,
    language: Literal["es", "en"],
    as_of: str | None,
    as_json: bool,
) -> int:
    """Plan when to start which batch; print the shift brief.

    The overrides --pin, --out and --order may be repeated and combined. Exit code 1 where there
    is no plan.
    """
    requests = [
        *(" ".join(["pin", *words]) for words in pins),
        *(" ".join(["out", *words]) for words in outages),
        *(" ".join(["order", *words]) for words in orders),
        *([overrides.NONE] if clear else []),
    ]
    with open_context(profile, as_of) as ctx:
        first = daily.day_called(day, ctx.as_of)
        outcome = daily.plan_today(ctx, days, first, wishes=requests, language=language)
        plan_alerts.raise_alerts(ctx, outcome)
    if as_json:
        names = ("level", "verdict", "figures", "brief", "notes", "files")
        tables = ("schedule", "costs", "watched", "obstacles")
        fields = {name: getattr(outcome, name) for name in names}
        write_json({**fields, **{name: records(getattr(outcome, name)) for name in tables}})
    else:
        parts = [outcome.verdict, outcome.brief, "\n".join(outcome.notes)]
        write("\n\n".join([*parts, "\n".join(outcome.files)]))
    return int(not outcome.schedule.size and outcome.level != "ok")
