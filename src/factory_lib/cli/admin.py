"""Commands that look after the installation: backup, restore, copy, cron, mlflow."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import click

from factory_lib import settings as factory_settings
from factory_lib.admin import backup, cron
from factory_lib.cli.options import common_options
from factory_lib.cli.output import records, write, write_rows
from factory_lib.context import open_context

commands = click.Group()


@commands.command("backup")
@common_options
def take_backup(profile: str | None, as_json: bool) -> None:
    """Back up store and state while jobs go on."""
    with open_context(profile) as ctx:
        folder = backup.take_backup(ctx)
    write_rows([{"backup": str(folder)}], as_json)


@commands.command("restore")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@common_options
def restore_backup(profile: str | None, folder: Path | None, as_json: bool) -> None:
    """Restore a backup, after checking it.

    FOLDER is the newest one by default.
    """
    with open_context(profile) as ctx:
        source, inventory = backup.restore_backup(ctx, folder)
    rows = int(inventory["rows"].sum())
    write_rows([{"restored": str(source), "rows": rows, "checksums": "equal"}], as_json)


@commands.command("copy")
@click.option(
    "--to",
    "backend",
    type=click.Choice(["sqlite", "influx"]),
    required=True,
    help="The backend that receives everything.",
)
@common_options
def copy(profile: str | None, backend: Literal["sqlite", "influx"], as_json: bool) -> None:
    """Copy the store into the other backend; repeating it completes it."""
    with open_context(profile) as ctx:
        inventory = backup.copy_to(ctx, backend)
    write_rows(records(inventory), as_json)


@commands.group("cron")
@common_options
def cron_block(profile: str | None, as_json: bool) -> None:
    """Show, install or remove the block of the user's crontab."""


@cron_block.command("show")
@common_options
def show_cron(profile: str | None, as_json: bool) -> None:
    """Show the block that `install` would write."""
    write("\n".join(cron.block(factory_settings.load(profile))))


@cron_block.command("install")
@common_options
def install_cron(profile: str | None, as_json: bool) -> None:
    """Install the block at the end of the crontab, in place of an earlier one."""
    settings = factory_settings.load(profile)
    count = cron.install(settings)
    write(f"{count} jobs installed; they log to {settings.paths.data / 'cron.log'}.")


@cron_block.command("remove")
@common_options
def remove_cron(profile: str | None, as_json: bool) -> None:
    """Remove the block from the crontab."""
    settings = factory_settings.load(profile)
    cron.remove(settings)
    write(f"No job of {settings.paths.root}, profile {settings.profile}, is scheduled any more.")


@commands.command("mlflow")
@click.option("--port", type=int, default=8080, show_default=True, help="Port of the server.")
@common_options
def mlflow_pages(profile: str | None, port: int, as_json: bool) -> int:
    """Serve the MLflow pages on 127.0.0.1."""
    paths = factory_settings.load(profile).paths
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--backend-store-uri": paths.mlflow_uri,
        "--artifacts-destination": str(paths.mlflow_artifacts),
    }
    program = str(Path(sys.executable).with_name("mlflow"))
    return subprocess.call(
        [program, "server", *(word for pair in options.items() for word in pair)]
    )
