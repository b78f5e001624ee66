"""Commands on the jobs of ``config/factory.toml``: run, list, settings, index."""

import json
from collections.abc import Iterator
from typing import Any

import click
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import scheduled
from factory_lib.cli.options import as_of_option, common_options
from factory_lib.cli.output import plain, write, write_json
from factory_lib.errors import BadInput, FactoryError
from factory_lib.settings import Settings
from factory_lib.state import open_state
from factory_lib.state.marks import LAST_RUN, get_marks

commands = click.Group()


def _parameters(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    return dict(_parameter(text) for text in texts)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, raw = text.partition("=")
    if not equals:
        raise BadInput(f"--param {text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(raw)
    except json.JSONDecodeError:
        return name, raw


def _job_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the jobs that a shell may complete."""
    settings = factory_settings.load(ctx.params.get("profile"))
    return [name for name in settings.jobs if name.startswith(incomplete)]


@commands.command("run")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=_job_names)
@as_of_option
@click.option(
    "--param",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="NAME=VALUE",
    help="A parameter of the notebook.",
)
@click.option("--force", is_flag=True, help="Run even when nothing new can exist.")
@click.option("--code", is_flag=True, help="Show the cells' source in the report.")
@common_options
def run(profile: str | None, jobs: tuple[str, ...], **options: Any) -> int:
    """Run jobs: their notebooks, into dated folders with a report.

    `factory jobs` lists them. A job with nothing due ends at once; one with --as-of, --param
    or --force always runs.
    """
    return scheduled.run_jobs(profile, jobs, **options)


@commands.command("jobs")
@common_options
def list_jobs(profile: str | None, as_json: bool) -> None:
    """List the jobs: notebook, cadence, last run."""
    settings = factory_settings.load(profile)
    with open_state(settings, read_only=True) as state:
        last = get_marks(state, LAST_RUN)
    rows = [
        {
            "job": name,
            "notebook": spec.notebook,
            "cron": spec.cron or "on demand",
            "last_run": last[name][0].isoformat() if name in last else None,
            "status": last[name][1]["status"] if name in last else None,
        }
        for name, spec in settings.jobs.items()
    ]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        ran = f"{row['status']} at {row['last_run']}" if row["last_run"] else "never run"
        write(f"{row['job']:<28}{row['notebook']:<24}{row['cron']:<16}{ran}")


@commands.command("index")
@common_options
def write_index(profile: str | None, as_json: bool) -> None:
    """Write runs/index.html anew."""
    from factory_lib.runs import index

    file = str(index.write_index(factory_settings.load(profile).paths))
    if as_json:
        write_json({"index": file})
    else:
        write(file)


@commands.group("config")
@common_options
def config(profile: str | None, as_json: bool) -> None:
    """Check or show the settings."""


@config.command("check")
@common_options
def check_config(profile: str | None, as_json: bool) -> int:
    """Check the settings; exit code 1 where a job cannot run or a week misses its demand."""
    settings = factory_settings.load(profile)
    problems = list(_problems(settings))
    if as_json:
        write_json(
            {
                "file": str(settings.file),
                "profile": settings.profile,
                "sound": not problems,
                "problems": problems,
            }
        )
    else:
        _write_plant(settings)
        sound = "is not sound" if problems else "is sound, and an ordinary week meets its demand"
        write("\n".join([*problems, f"{settings.file} {sound}."]))
    return int(bool(problems))


@config.command("show")
@common_options
def show_config(profile: str | None, as_json: bool) -> None:
    """Show the settings, secrets left out."""
    settings = factory_settings.load(profile)
    hidden = ("secrets", "catalogue")
    values = {key: value for key, value in structs.asdict(settings).items() if key not in hidden}
    if as_json:
        write_json(values)
        return
    _write_plant(settings)
    text = json.dumps(values, indent=2, default=plain, ensure_ascii=False)
    write(f"\nEverything that is set, secrets left out:\n{text}")


def _write_plant(settings: Settings) -> None:
    from factory_lib.planning import plant_summary

    write(f"From {settings.file}, profile {settings.profile}:")
    write("\n".join(plant_summary.describe(settings)))


def _problems(settings: Settings) -> Iterator[str]:
    """Yield the jobs that cannot run, and what of a week's demand is not met."""
    from factory_lib.planning import plant_summary
    from factory_lib.runs import runner

    for name, spec in settings.jobs.items():
        try:
            runner.notebook_for(settings, spec, {"profile": "", "as_of": "", **spec.parameters})
        except FactoryError as error:
            yield f"Job {name} cannot run: {error}"
    for line in plant_summary.cannot(settings):
        yield f"An ordinary week does not meet its demand in time: {line}."
