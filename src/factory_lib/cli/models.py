"""Commands on models: predict, models."""

import click

from factory_lib.cli import scheduled
from factory_lib.cli.options import as_of_option, common_options
from factory_lib.cli.output import records, write, write_json, write_rows
from factory_lib.context import open_context
from factory_lib.errors import BadInput

WHAT_IF = {"price": "EUR/MWh", "temperature": "°C", "humidity": "%"}

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
    """Predict the hours ahead, or apply the rule to one made-up hour."""
    if values and not what_if:
        raise BadInput(
            f"{values[0]!r} has no option.", next_step="Values belong to --what-if alone."
        )
    if what_if:
        _apply_rule(profile, as_of, _what_if(values), as_json)
        return 0
    jobs = ["ml_predictions"]
    return scheduled.run_jobs(profile, jobs, as_of=as_of, force=True, as_json=as_json)


def _apply_rule(
    profile: str | None, as_of: str | None, given: dict[str, float], as_json: bool
) -> None:
    from factory_lib.models.prediction import rule

    with open_context(profile, as_of, read_only=True) as ctx:
        result = rule(ctx, given["price"], given["temperature"], given["humidity"])
    unknown = {name for name, value in result.items() if value != value}
    if as_json:
        values = {name: None if name in unknown else value for name, value in result.items()}
        write_json({"kind": "rule", "given": given, **values})
        return
    inputs = ", ".join(f"{name} {given[name]:g} {unit}" for name, unit in WHAT_IF.items())
    write(f"rule, not a prediction: {inputs}")
    for name, value in result.items():
        number = value if isinstance(value, str) else f"{value:.1f}"
        write(f"  {name:<28}{'unknown' if name in unknown else number}")


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
def models(ctx: click.Context, profile: str | None, as_json: bool) -> None:
    """List registered model versions, or roll one back."""
    if ctx.invoked_subcommand is None:
        _write_versions(profile, as_json)


@models.command("list")
@common_options
def list_models(profile: str | None, as_json: bool) -> None:
    """List registered model versions."""
    _write_versions(profile, as_json)


@models.command("rollback")
@click.argument("name")
@common_options
def roll_back(profile: str | None, name: str, as_json: bool) -> None:
    """Give the alias of a model back to the champion before."""
    from factory_lib.models import registry

    with open_context(profile) as ctx:
        champion = registry.rollback(ctx, name)
    write_rows([{"model": name, "champion": champion}], as_json)


def _write_versions(profile: str | None, as_json: bool) -> None:
    from factory_lib.models import registry

    with open_context(profile, read_only=True) as ctx:
        versions = records(registry.versions(ctx))
    write_rows(versions, as_json)
