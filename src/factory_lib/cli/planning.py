"""The commands of the shift leader: plan, its overrides and previews."""

from collections.abc import Sequence
from typing import Any, Literal

import click
from msgspec.structs import asdict

from factory_lib.cli.common import (
    as_of_option,
    by_option,
    common_options,
    in_context,
    named_values,
    records,
    write_either,
    write_result,
)
from factory_lib.context import RunContext, open_context
from factory_lib.monitoring.plan_alerts import plan_with_alerts
from factory_lib.planning import daily, documents, overrides, summary
from factory_lib.views.shift_sheet import shift_sheet

commands = click.Group()
HELP_PIN = "A batch begins this stage then; local times, 14:30 or YYYY-MM-DDThh:mm."
CHANGES = "operators=-1 contract_kw=80 out=conche price_eur_mwh=20 pv_kwp=50"


@commands.group("plan", invoke_without_command=True)
@click.option("--day", default="", help="First day shown: today, tomorrow (default), or a date.")
@click.option("--days", type=int, default=1, show_default=True, help="Local days shown, 1 to 7.")
@click.option("--pin", "pins", nargs=3, multiple=True, metavar="PRODUCT STAGE WHEN", help=HELP_PIN)
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
    metavar="PRODUCT KG DUE",
    help="Extra kilograms, finished by then.",
)
@click.option("--clear", is_flag=True, help="Remove earlier overrides first.")
@click.option("--reason", default="", help="Reason of the overrides.")
@by_option
@click.option(
    "--what-if",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Plan three days with a change and compare; nothing is written. One of: {CHANGES}.",
)
@click.option(
    "--language",
    type=click.Choice(["es", "en"]),
    help="Language of the shift sheet; without it that of [service], as on the pages.",
)
@as_of_option
@common_options
@click.pass_context
def plan(
    click_ctx: click.Context,
    profile: str | None,
    day: str,
    days: int,
    pins: Sequence[Sequence[str]],
    outages: Sequence[Sequence[str]],
    orders: Sequence[Sequence[str]],
    clear: bool,
    reason: str,
    by: str,
    changes: Sequence[str],
    language: Literal["es", "en"] | None,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Plan the next seven days; print the shift sheet.

    The overrides --pin, --out and --order may be repeated and combined; each is kept until
    its time has passed.
    """
    if click_ctx.invoked_subcommand:
        return 0
    words = [" ".join(["pin", *text]) for text in pins]
    words += [" ".join(["out", *text]) for text in outages]
    words += [" ".join(["order", *text]) for text in orders]
    with open_context(profile, as_of, lazy=True) as ctx:  # a slip makes no file
        if changes:
            previews = daily.preview(ctx, named_values(changes, "--what-if", CHANGES))
            return write_result(summary.compare_previews(*previews), as_json)
        _store_overrides(ctx, words, day, (by, reason), clear)
        _write_plan(ctx, day, days, language, as_json)
    return 0


@plan.group("override")
@common_options
def override(profile: str | None, as_json: bool) -> None:
    """List, add or remove overrides: pinned starts, outages, extra orders."""


@override.command("list")
@in_context("number", "override", "author", "created_at", read_only=True)
def list_overrides(ctx: RunContext) -> list[dict[str, Any]]:
    """List the overrides that are stored."""
    folder = documents.plans_folder(ctx)
    damaged = [{"override": f"{file} is damaged"} for file in overrides.damaged(folder)]
    items = overrides.stored(folder)
    rows = [{"number": item.number, "override": str(item), **asdict(item)} for item in items]
    return damaged + rows


@override.command("add")
@click.argument("words", nargs=-1, required=True)
@click.option("--day", default="", help="Day of a bare time: today, tomorrow (default), or a date.")
@click.option("--reason", default="", help="Reason of the override.")
@by_option
@in_context(read_only=True)  # but for the file of overrides
def add_override(
    ctx: RunContext, words: Sequence[str], day: str, reason: str, by: str
) -> list[dict[str, Any]]:
    """Add one override: pin PRODUCT STAGE WHEN, out MACHINE UNTIL, or order PRODUCT KG DUE."""
    added = _store_overrides(ctx, [" ".join(words)], day, (by, reason))
    return [{"number": item.number, "override": str(item)} for item in added]


@override.command("remove")
@click.argument("number", type=int)
@in_context(read_only=True)
def remove_override(ctx: RunContext, number: int) -> list[dict[str, Any]]:
    """Remove an override by its number."""
    removed = overrides.remove_override(documents.plans_folder(ctx), number)
    return [{"removed": number, "override": str(removed)}]


def _store_overrides(
    ctx: RunContext,
    texts: Sequence[str],
    day: str,
    by_and_reason: tuple[str, str],
    clear: bool = False,
) -> Sequence[Any]:
    folder = documents.plans_folder(ctx)
    first = daily.day_of(day, ctx.as_of, ctx.settings.plant.zone)
    plant = ctx.settings.plant
    items = [overrides.parse(text, plant, first, ctx.as_of, *by_and_reason) for text in texts]
    return overrides.add(folder, items, ctx.as_of, clear=clear) if items or clear else ()


def _write_plan(
    ctx: RunContext, day: str, days: int, language: Literal["es", "en"] | None, as_json: bool
) -> None:
    made, result = plan_with_alerts(ctx, day, days)
    language = language or ctx.settings.service.language
    sheet = shift_sheet(ctx, result["sheet"], language, result.metrics["sheet_until"]).text
    names = ("schedule", "sheet", "costs", "gave_way", "attention", "contract")
    fields = {
        "status": result.status,
        "summary": result.summary,
        "metrics": result.metrics,
        "shift_sheet": sheet,
        "notes": result.notes,
        "files": made.files,
    }
    text = "\n\n".join(
        [result.summary, sheet.strip(), "\n".join(result.notes), "\n".join(made.files)]
    )
    write_either(as_json, fields | {name: records(result[name]) for name in names}, text)
