"""Commands on models: predict, models."""

from typing import Any

import click
import pandas as pd

from factory_lib.cli import jobs
from factory_lib.cli.common import as_of_option, common_options, in_context, write_either
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput
from factory_lib.models import one_hour, registry
from factory_lib.models.history import price_model
from factory_lib.planning import recommendation
from factory_lib.runs.records import RunRecord

WHAT_IF = {"price": "spot_eur_mwh", "temperature": "temperature_c", "humidity": "humidity_pct"}

commands = click.Group()


@commands.command("predict")
@as_of_option
@click.option(
    "--what-if",
    is_flag=True,
    help="Apply the rule to price=EUR/MWh temperature=°C humidity=%, all three.",
)
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@common_options
def predict(
    profile: str | None, as_of: str | None, what_if: bool, values: tuple[str, ...], as_json: bool
) -> int:
    """Predict the hours ahead, or apply the rule to one made-up hour.

    With --json the advice on the start of a batch by hour comes along.
    """
    if values and not what_if:
        raise BadInput(
            f"{values[0]!r} has no option.", next_step="Values belong to --what-if alone."
        )
    if what_if:
        _apply_rule(profile, as_of, _what_if(values), as_json)
        return 0

    def advice(record: RunRecord) -> dict[str, Any]:
        with open_context(profile, as_of, read_only=True) as ctx:
            kept = recommendation.read_advice(ctx) or {}
        return {"advice": kept if kept.get("issued_at") == record.as_of else None}

    return jobs.run_jobs(
        profile, ["ml_predictions"], as_of=as_of, force=True, as_json=as_json, details=advice
    )


def _apply_rule(
    profile: str | None, as_of: str | None, given: dict[str, float], as_json: bool
) -> None:
    with open_context(profile, as_of, read_only=True) as ctx:
        entries = {name: ctx.catalogue[series] for name, series in WHAT_IF.items()}
        for name, entry in entries.items():
            if not entry.low <= given[name] <= entry.high:
                raise BadInput(f"{name}={given[name]:g} cannot be: it is {entry.limits}.")
        result = one_hour.rule(ctx, given["price"], given["temperature"], given["humidity"])
    inputs = ", ".join(f"{name} {given[name]:g} {entry.unit}" for name, entry in entries.items())
    lines = [f"rule, not a prediction: {inputs}"]
    values: dict[str, Any] = {"kind": "rule", "given": given}
    for name, value in result.items():
        unknown = value != value  # NaN
        values[name] = None if unknown else value
        words = value if isinstance(value, str) else "unknown" if unknown else f"{value:.1f}"
        lines.append(f"  {name:<28}{words}")
    write_either(as_json, values, "\n".join(lines))


def _what_if(words: tuple[str, ...]) -> dict[str, float]:
    """Return the three values of ``name=number`` words.

    Raises
    ------
    BadInput
        If one is missing, unknown or no number.
    """
    pairs = dict(word.partition("=")[::2] for word in words)
    form = "price=EUR/MWh temperature=°C humidity=%"
    if set(pairs) != set(WHAT_IF):
        raise BadInput(
            f"--what-if needs {form}.",
            next_step="For instance price=80 temperature=24 humidity=50.",
        )
    try:
        return {name: float(text) for name, text in pairs.items()}
    except ValueError:
        raise BadInput(f"--what-if needs numbers: {form}.") from None


@commands.group("models", invoke_without_command=True)
@click.pass_context
@common_options
def models(group: click.Context, /, **options: Any) -> None:
    """List registered model versions or a champion's experts, or roll a version back."""
    if group.invoked_subcommand is None:
        group.invoke(list_models, **options)


@models.command("list")
@in_context(read_only=True)
def list_models(ctx: RunContext) -> pd.DataFrame:
    """List registered model versions."""
    return registry.versions(ctx)


@models.command("experts")
@in_context(read_only=True)
def list_experts(ctx: RunContext) -> pd.DataFrame:
    """List the experts of the price champion: weight, error, and what each is worth."""
    champion = registry.load_version(ctx, price_model(ctx))
    return pd.DataFrame(champion.estimator.experts().round(3))


@models.command("rollback")
@click.argument("name")
@in_context()
def roll_back(ctx: RunContext, name: str) -> list[dict[str, Any]]:
    """Give the alias of a model back to the champion before."""
    return [{"model": name, "champion": registry.rollback(ctx, name)}]
