"""Options that many commands share."""

from collections.abc import Callable
from getpass import getuser
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

as_of_option = click.option(
    "--as-of",
    help="Replay: nothing that became available later is read (2017-12-31, or an instant).",
)
by_option = click.option("--by", default=getuser, help="Name of the person (default: the user).")


def common_options(command: Command) -> Command:
    """Add ``--profile`` and ``--json``, which may stand before or after a command's name."""
    profile = click.option(
        "--profile",
        default=_inherited("profile"),
        help="live (default), demo, history, or another table under [profiles].",
    )
    as_json = click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=_inherited("as_json"),
        help="Print JSON instead of text.",
    )
    return profile(as_json(command))


def _inherited(name: str) -> Callable[[], Any]:
    """Return a default: the value of the group that the command belongs to."""

    def default() -> Any:
        parent = click.get_current_context().parent
        return parent.params.get(name) if parent else None

    return default
