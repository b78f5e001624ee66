"""Options, output and the open profile that the commands share. No pandas until it is needed."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import datetime
from functools import partial, wraps
from getpass import getuser
from typing import Any, TypeVar

import click
from msgspec import Struct, structs

from factory_lib.clock import display_zone
from factory_lib.errors import BadInput
from factory_lib.results import JobResult
from factory_lib.settings import own_environment
from factory_lib.settings.secrets import hide_users

SHOWN_ROWS = 20
ALL_SITES = "all"
DECIMALS = "{:,.2f}"
MINUTE = "%Y-%m-%d %H:%M %Z"  # local
Rows = list[dict[str, Any]]
Command = TypeVar("Command", bound=Callable[..., Any])

# -- options ---------------------------------------------------------------------------

as_of_option = click.option(
    "--as-of",
    help="Replay: nothing that became available later is read (2017-12-31, or an instant).",
)
by_option = click.option("--by", default=getuser, help="Name of the person (default: the user).")


def common_options(command: Command) -> Command:
    """Add ``--profile``, ``--site`` and ``--json``, before or after a command's name."""
    profile = click.option(
        "--profile",
        default=partial(_inherited, "profile"),
        help="live (default), demo, history, or another table under [profiles].",
    )
    as_json = click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=partial(_inherited, "as_json"),
        help="Print JSON instead of text.",
    )
    site = click.option(
        "--site",
        expose_value=False,
        callback=_use_site,
        help="A name under [sites] (default: the first site); for `run` also all.",
    )
    return profile(site(as_json(command)))


def _use_site(ctx: click.Context, _: click.Parameter, site: str | None) -> None:
    """Make a site that of the command and of its kernels; the environment is as before after it."""
    if site == ALL_SITES and ctx.info_name != "run":
        raise BadInput("Only `factory run` takes all sites.", next_step="Name one of them.")
    if site is not None:
        ctx.with_resource(own_environment())
        os.environ["FACTORY_SITE"] = site


def _inherited(name: str) -> Any:
    """Return the value of the group that the command belongs to."""
    parent = click.get_current_context().parent
    return parent.params.get(name) if parent else None


def named_values(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Return the pairs that words ``NAME=VALUE`` of an option name.

    Raises
    ------
    BadInput
        If a word is none.
    """
    if wrong := [text for text in texts if "=" not in text]:
        raise BadInput(f"{option} {wrong[0]!r} is not NAME=VALUE.", next_step=f"Write {example}.")
    return dict(text.split("=", 1) for text in texts)


def in_context(*tables: str, read_only: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Make a command of a function of a profile's context, and write what it returns.

    The function returns rows or a frame, of which the columns ``tables`` are shown to a
    person, or a result, of which these tables are (default: all); a result that failed
    gives exit code 1.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def command(
            profile: str | None, as_json: bool, as_of: str | None = None, **options: Any
        ) -> int:
            from factory_lib.context import open_context

            with open_context(profile, as_of, read_only=read_only) as ctx:
                answer = function(ctx, **options)
                if isinstance(answer, JobResult):
                    return write_result(answer, as_json, *tables)
                rows = answer if isinstance(answer, list) else records(answer)
                write_rows(rows, as_json, *tables)
            return 0

        return common_options(command)

    return decorate


# -- output ----------------------------------------------------------------------------


def write(text: str) -> None:
    """Write a line, without users of addresses.

    Where its reader went away, as ``head`` does, the command goes on.
    """
    try:
        sys.stdout.write(f"{hide_users(text)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """Return what JSON can hold in place of a record, a path or an instant."""
    if isinstance(value, Struct):
        return structs.asdict(value)
    return vars(value) if is_dataclass(value) else str(value)


def write_either(as_json: bool, value: Any, text: str) -> None:
    """Write a value as one line of JSON, or the text for a person."""
    write(json.dumps(value, default=plain, ensure_ascii=False) if as_json else text)


def records(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain records; times in ISO 8601, NaN as None."""
    text = frame.to_json(orient="records", date_format="iso", date_unit="s")
    return list(json.loads(text))


def write_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, *columns: str) -> None:
    """Write one line for each row, without its empty fields; of the columns, or all."""
    lines = []
    for row in rows:
        fields = {name: _shown(row.get(name)) for name in columns or row}
        lines.append("  ".join(f"{name} {text}" for name, text in fields.items() if text))
    write_either(as_json, list(rows), "\n".join(lines or ["none"]))


def _shown(value: Any) -> str:
    """Return a value as text; an instant, in ISO 8601 too, as local minutes."""
    with suppress(ValueError):
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(at, datetime) and at.tzinfo:
            return f"{at.astimezone(display_zone()):{MINUTE}}"
    return "" if value is None else str(value)


def as_table(frame: Any) -> str:
    """Return a frame as text: local times to the minute, no empty column, no NaN and no NaT."""
    shown = frame.copy()
    for name in shown.select_dtypes("datetimetz"):
        shown[name] = shown[name].dt.tz_convert(display_zone()).dt.strftime(MINUTE)
    filled = shown.notna() & (shown != "")
    shown = shown.loc[:, filled.any()]
    return str(shown.to_string(index=False, float_format=DECIMALS.format, na_rep=""))


def write_result(result: JobResult, as_json: bool, *tables: str) -> int:
    """Write a result and its tables, or those that are named; return 1 where it failed."""
    frames = {name: result[name] for name in tables or result.tables}
    head = {
        "status": result.status,
        "summary": result.summary,
        "metrics": dict(result.metrics),
        "notes": result.notes,
    }
    lines = [result.summary]
    for name, frame in frames.items():
        if len(frame):
            more = f" (first {SHOWN_ROWS} of {len(frame):,})" if len(frame) > SHOWN_ROWS else ""
            lines.append(f"\n{name}{more}:\n{as_table(frame.head(SHOWN_ROWS))}")
    tables_as_rows = {name: records(frame) for name, frame in frames.items()}
    write_either(as_json, head | tables_as_rows, "\n".join(lines))
    return int(result.status == "fail")
