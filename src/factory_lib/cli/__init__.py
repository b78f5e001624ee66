"""``factory …``: one verb per job to do; every import waits until its verb is chosen.

A scheduled tick that finds nothing due must not pay for pandas, so this module imports
the standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from factory_lib.errors import BadInput, FactoryError

EXIT_CODES = (
    "exit codes: 0 done · 1 failed · 2 unusable input · 69 a service is away · 75 skipped, locked"
)
Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error becomes one sentence on stderr and an exit code, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["simulate"]:  # its options are the simulator's own
            return _simulate(words[1:])
        chosen = _parser().parse_args(words)
        return int(chosen.handler(chosen))
    except FactoryError as error:
        sys.stderr.write(f"factory: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--profile",
        help="live (default), demo, history, or another table under [profiles]",
        default=argparse.SUPPRESS,
    )
    common.add_argument("--json", action="store_true", help="one JSON object instead of words")
    parser = argparse.ArgumentParser(
        prog="factory",
        description="Energy-aware production: data, forecasts and plans for one factory.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--profile", default=None, help="live (default), demo, history, …")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, handler: Handler, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name, help=text, description=text, parents=[common], epilog=EXIT_CODES
        )
        added.set_defaults(handler=handler, verb=name)
        return added

    run = verb("run", _run, "Run jobs: their notebooks, into dated folders with a report.")
    run.add_argument("jobs", nargs="+", metavar="JOB", help="see `factory jobs`")
    run.add_argument(
        "--as-of",
        help="replay: nothing that became available later is read (2017-12-31, or an instant)",
    )
    run.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the notebook",
    )
    run.add_argument("--force", action="store_true", help="run even when nothing new can exist")
    run.add_argument("--code", action="store_true", help="show the cells' source in the report")

    imports = verb(
        "import",
        _import,
        "Import data files or folders, or the plant's records: `import meter FILE`, `import "
        "production FILE`; repeating it changes nothing.",
    )
    imports.add_argument("paths", nargs="+", type=Path, metavar="[FORMAT] PATH")
    imports.add_argument("--format", help="when the content does not tell")

    for name, handler, text in (
        ("gaps", _gaps, "Account for every slot and list the gaps."),
        ("backfill", _backfill, "Fill what is missing, and say what was really recovered."),
    ):
        added = verb(name, handler, text)
        added.add_argument(
            "--since", help="first market day (default: the look-back of the settings)"
        )
        added.add_argument("--as-of", help="judge due and late at this instant")
        if name == "backfill":
            added.add_argument("--until", help="end of the window, exclusive")
            added.add_argument(
                "--dry-run", action="store_true", help="show the plan and ask nobody"
            )

    verb("jobs", _jobs, "List the jobs: notebook, cadence, last run.")
    config = verb("config", _config, "Check or show the settings.")
    config.add_argument("action", choices=("check", "show"))
    verb("index", _index, "Write runs/index.html anew.")
    export = verb("export", _export, "Write a view to CSV or Parquet, with units and provenance.")
    export.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help="series; or accounting, gaps, forecasts (of series), features, plan",
    )
    export.add_argument("--out", type=Path, required=True, help="file ending in .csv or .parquet")
    export.add_argument("--since", required=True)
    export.add_argument("--until", required=True)
    export.add_argument("--as-of")
    verb(
        "doctor",
        _desk,
        "Check keys, providers, store, registry, clock and disk, and say what to do.",
    )
    verb("health", _desk, "Show how jobs, providers and series fare.")
    alerts = verb(
        "alerts", _desk, "List, acknowledge or mute alerts, or send a test through every channel."
    )
    alerts.add_argument("action", choices=("list", "ack", "mute", "test"))
    alerts.add_argument("name", nargs="?", help="topic/entity; * and ? match")
    alerts.add_argument(
        "--hours", type=float, default=24.0, help="of silence (default %(default)s)"
    )
    alerts.add_argument("--all", action="store_true", help="list resolved ones too")
    alerts.add_argument("--by", help="who (default: the user)")
    quarantine = verb(
        "quarantine", _desk, "List barred values; release, reject or correct values by hand."
    )
    quarantine.add_argument("action", choices=("list", "release", "reject", "correct"))
    quarantine.add_argument("series", nargs="?")
    quarantine.add_argument("--since", help="first instant or market day")
    quarantine.add_argument("--until", help="end of the window, exclusive")
    quarantine.add_argument("--source", help="of this provider alone")
    quarantine.add_argument("--value", type=float, help="what it is corrected to")
    quarantine.add_argument("--reason")
    quarantine.add_argument("--by", help="who (default: the user)")
    predict = verb(
        "predict", _desk, "Predict the hours ahead, or say what the rule makes of one made-up hour."
    )
    predict.add_argument("--as-of", help="replay: nothing that became available later is read")
    predict.add_argument(
        "--what-if",
        nargs="+",
        metavar="NAME=VALUE",
        help="price=EUR/MWh temperature=°C humidity=%%, all three",
    )
    plan = verb(
        "plan",
        _desk,
        "Plan when to start which batch, with the shift leader's hand on it; print the brief.",
    )
    plan.add_argument(
        "--day", default="", help="first day: today (from now on), tomorrow (default), or a date"
    )
    plan.add_argument(
        "--days", type=int, default=1, help="local days, 1 to 7 (default %(default)s)"
    )
    for option, names, text in (
        (
            "--pin",
            ("VARIANT", "STAGE", "WHEN"),
            "a batch begins this stage then; local times, 14:30 or 2026-01-31T14:30",
        ),
        ("--out", ("MACHINE", "UNTIL"), "a machine is out of order until then"),
        ("--order", ("VARIANT", "KG", "DUE"), "extra kilograms, finished by then"),
    ):
        plan.add_argument(
            option, nargs=len(names), action="append", default=[], metavar=names, help=text
        )
    plan.add_argument(
        "--clear",
        action="store_true",
        help="take earlier wishes away; else each stays until its time",
    )
    plan.add_argument(
        "--language", choices=("es", "en"), default="es", help="of the brief (default %(default)s)"
    )
    plan.add_argument("--as-of", help="replay: nothing that became available later is read")
    models = verb(
        "models",
        _desk,
        "List registered model versions, or give the alias back to the champion before.",
    )
    models.add_argument("action", nargs="?", choices=("list", "rollback"), default="list")
    models.add_argument("name", nargs="?", help="of the model")
    verb("backup", _desk, "Back up store and state while jobs go on.")
    restore = verb("restore", _desk, "Bring a backup back, after checking it.")
    restore.add_argument("folder", nargs="?", type=Path, help="default: the newest")
    copy = verb("copy", _desk, "Copy the store into the other backend; repeating it completes it.")
    copy.add_argument("--to", choices=("sqlite", "influx"), required=True)
    cron = verb("cron", _cron, "Show, install or remove the block of the user's crontab.")
    cron.add_argument("action", choices=("show", "install", "remove"))
    demo = verb("demo", _demo, "The whole job on simulated data, offline.")
    demo.add_argument(
        "--days", type=int, default=210, help="simulated days of history (default %(default)s)"
    )
    history = verb(
        "history", _history, "Import a folder of real files and run the notebooks on them."
    )
    history.add_argument("folder", type=Path)
    mlflow = verb("mlflow", _mlflow, "Serve the MLflow pages on 127.0.0.1.")
    mlflow.add_argument("--port", type=int, default=8080)
    verbs.add_parser(
        "simulate", help="Serve a simulated world that speaks every provider's format."
    )
    return parser


def _run(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import jobs

    parameters = dict(_pair(text) for text in chosen.param)
    return jobs.run(
        chosen.profile,
        chosen.jobs,
        as_of=chosen.as_of,
        parameters=parameters,
        force=chosen.force,
        code=chosen.code,
        as_json=chosen.json,
    )


def _pair(text: str) -> tuple[str, Any]:
    name, equals, raw = text.partition("=")
    if not equals:
        raise BadInput(f"--param {text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(raw)
    except json.JSONDecodeError:
        return name, raw


def _import(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import data

    return data.import_paths(chosen.profile, chosen.paths, chosen.format, as_json=chosen.json)


def _gaps(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import data

    return data.gaps(chosen.profile, chosen.since, chosen.as_of, as_json=chosen.json)


def _backfill(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import data

    return data.backfill(
        chosen.profile,
        chosen.since,
        chosen.until,
        chosen.as_of,
        dry_run=chosen.dry_run,
        as_json=chosen.json,
    )


def _export(chosen: argparse.Namespace) -> int:
    from factory_lib.admin import export

    return export.export(
        chosen.profile,
        chosen.what,
        chosen.out,
        since=chosen.since,
        until=chosen.until,
        as_of=chosen.as_of,
    )


def _jobs(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import jobs

    return jobs.show(chosen.profile, as_json=chosen.json)


def _config(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import jobs

    return jobs.config(chosen.profile, chosen.action, as_json=chosen.json)


def _index(chosen: argparse.Namespace) -> int:
    from factory_lib import settings
    from factory_lib.runs import index

    sys.stdout.write(f"{index.write_index(settings.load(chosen.profile).paths)}\n")
    return 0


def _desk(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import desk

    return desk.VERBS[chosen.verb](chosen)


def _cron(chosen: argparse.Namespace) -> int:
    from factory_lib import settings
    from factory_lib.admin import cron

    action = {"show": cron.show, "install": cron.install, "remove": cron.remove}[chosen.action]
    return action(settings.load(chosen.profile))


def _demo(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import demo

    return demo.demo(chosen.days)


def _history(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import demo

    return demo.history(chosen.folder)


def _mlflow(chosen: argparse.Namespace) -> int:
    from factory_lib.cli import demo

    return demo.mlflow_pages(chosen.profile, chosen.port)


def _simulate(options: Sequence[str]) -> int:
    from factory_sim import __main__ as simulator

    return simulator.main(options)
