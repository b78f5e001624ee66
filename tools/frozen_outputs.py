"""Record the output of the commands, and compare two records: a safety net for refactorings.

``record OUT.json`` runs every job over three days of the demo, the commands that print JSON, the
notebooks on real files and the quick benchmarks, each in a temporary home, and keeps what is the
same in every run. ``compare A.json B.json`` prints each path that differs and ends with 1 if there
is one. ``--renames`` names a JSON file, ``{old: new}`` for keys or ``{"keys": {old: new}, "words":
{old: new}, "paths": {pattern: new}}``: words are replaced in texts, patterns in whole paths.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("demo", "json", "history", "benchmarks")

# Every command, job and option stands here, so that a renamed one is changed in one place.
DEMO = "demo --days 130"
JOBS = shlex.split("""
    ree_price_ingestion hybrid_weather_ingestion ingest gap_analysis auto_backfill_check
    daily_backfill feature_engineering ml_training ml_predictions production_optimization
    health_check aemet_token_check weekly_cleanup
""")
DAYS = {  # local time: options of `run`; the demo itself ends on Thursday 20 November at 11:05
    "2025-11-20T20:40": "",
    "2025-11-21T01:30": "",
    "2025-11-22T10:10": "--force",
    "2025-11-23T20:40": "",
}
COMMANDS = """
    jobs; health; doctor; gaps; gaps --since 2025-10-20; backfill --dry-run; models
    backfill --dry-run --since 2025-07-01; quarantine list; alerts list --all
    config show; config check; predict --what-if price=90 temperature=22 humidity=50
    plan; plan --day today --language en; plan --days 3 --language en; predict
"""
EXPORTS = """
    spot_eur_mwh pvpc_eur_mwh temperature_c humidity_pct wind_speed_ms pressure_station_hpa
    accounting; gaps; forecasts; features; plan
"""
WINDOW = "--since 2025-10-20 --until 2025-11-26"
BENCHMARKS = """
    gap_scan; recovery; requests; real_import; plan --plants default
    price_backtest --from 2024-01-01 --to 2024-01-14
"""
# Keys that differ from run to run, or with the names in the code.
VOLATILE = re.compile(
    r"started_at|finished_at|created|seconds|cpu_seconds|peak_memory_mb|pid|folder|solve_s"
    r"|clock_offset_s|\w*run_id|\w+_hash|\w+_ms"
)
VOLATILE_OF = {
    "doctor": re.compile("finding|next_step"),
    "benchmarks": re.compile(r"\w+_s|(\w+_)?ratio"),
}
NOTHING = re.compile(r"(?!)")
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?")
IDENTITY = re.compile(r"\b[0-9a-f]{12}\b|\b[0-9a-f]{32}\b|[\d.,]+(?= GB free)")
STEP = timedelta(minutes=5)  # from command to command; within it, instants differ by seconds
MADRID = ZoneInfo("Europe/Madrid")


def lines(table: str) -> list[str]:
    """Return the entries of a table of commands."""
    return [entry.strip() for entry in re.split(r"[;\n]", table) if entry.strip()]


@lru_cache(maxsize=100_000)
def rounded(instant: str) -> str:
    """Return an instant rounded down to a step; one of the machine's clock is no output."""
    at = datetime.fromisoformat(instant)
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - aware) < timedelta(days=1):
        return "<now>"
    return (at - (at - datetime.min.replace(tzinfo=at.tzinfo)) % STEP).isoformat()


class Home:
    """A temporary home of the program, and its command line."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.folder = folder
        self.profile = profile
        own = ("FACTORY_", "INFLUXDB_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        self.env = {**kept, "FACTORY_HOME": str(folder)}

    def start(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program from the root, and report it."""
        sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {' '.join(command[1:])[:90]}\n")
        return subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )

    def factory(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the console command."""
        program = str(Path(sys.executable).with_name("factory"))
        return self.start(program, *words, "--profile", self.profile)

    def output(self, done: subprocess.CompletedProcess[str], kind: str = "") -> dict[str, Any]:
        """Return exit code and JSON of a command, or its last message where it printed none."""
        try:
            output = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            return {"exit": done.returncode, "message": self.plain(done.stderr.strip()[-300:])}
        result = {"exit": done.returncode, "output": output}
        if isinstance(output, dict) and "folder" in output:
            result["tables"] = page_tables(Path(output["folder"]))
        return {
            key: self.plain(value, VOLATILE_OF.get(kind, NOTHING)) for key, value in result.items()
        }

    def plain(self, value: Any, volatile: re.Pattern[str] = NOTHING) -> Any:
        """Return a value without what differs from run to run."""
        if isinstance(value, dict):
            kept = [
                key for key in value if not (VOLATILE.fullmatch(key) or volatile.fullmatch(key))
            ]
            return {key: self.plain(value[key], volatile) for key in kept}
        if isinstance(value, list):
            return [self.plain(entry, volatile) for entry in value]
        if not isinstance(value, str):
            return value
        text = value.replace(str(self.folder), "<home>").replace(str(ROOT), "<root>")
        return INSTANT.sub(lambda match: rounded(match[0]), IDENTITY.sub("<id>", text))

    def set_clock(self, local: str, steps: int) -> None:
        """Put the demo's clock to a local time and some steps."""
        at = datetime.fromisoformat(local).replace(tzinfo=MADRID).astimezone(UTC) + steps * STEP
        clock = self.folder / "data" / self.profile / "clock"
        clock.write_text(at.isoformat(), encoding="ascii")

    def runs(self) -> dict[str, Any]:
        """Return the record of every run, by instant and job."""
        result: dict[str, Any] = {}
        for file in sorted(self.folder.glob(f"runs/{self.profile}/**/run.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            record["tables"] = page_tables(file.parent)
            result.setdefault(rounded(record["as_of"]), {})[record["job"]] = self.plain(record)
        return result

    def export(self, view: str) -> dict[str, Any]:
        """Return rows and a checksum of each column of an exported view."""
        file = self.folder / "export.csv"
        done = self.factory("export", *view.split(), *WINDOW.split(), "--out", str(file))
        if done.returncode:
            return self.output(done)
        with file.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        names = [name for name in rows[0] if not VOLATILE.fullmatch(name)]
        return {"rows": len(rows)} | {name: self.checksum(rows, name) for name in names}

    def checksum(self, rows: list[dict[str, str]], name: str) -> str:
        """Return a checksum of a column, numbers to nine digits."""
        total = sha256()
        for row in rows:
            try:
                cell = f"{float(row[name]):.9g}"
            except ValueError:
                cell = self.plain(row[name])
            total.update(f"{cell}\n".encode())
        return f"sha256:{total.hexdigest()[:16]}"


def page_tables(folder: Path) -> list[dict[str, Any]]:
    """Return rows and sums of the numeric columns, durations left out, of a page's tables."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    pattern = r"<table><caption>(.*?)</caption><thead>(.*?)</thead><tbody>(.*?)</tbody>"
    tables = []
    for caption, head, body in re.findall(pattern, page, re.DOTALL):
        names = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<th.*?</th>", head)]
        rows = [
            re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL) for row in body.split("</tr>")[:-1]
        ]
        table = {"caption": caption, "rows": len(rows)}
        for name, *cells in zip(names, *rows, strict=True):
            texts = [cell.replace(",", "") for cell in cells]
            numbers = [float(text) for text in texts if re.fullmatch(r"[-+]?\d+(\.\d+)?", text)]
            if numbers and not re.search(r"\(m?s\)", name):
                table[name] = round(sum(numbers), 9)
        tables.append(table)
    return tables


def live(home: Home, parts: set[str], quick: bool) -> dict[str, Any]:
    """Run every job on the demo's days, then every command."""
    done = home.factory(*DEMO.split())
    demo: dict[str, Any] = {"first": {"exit": done.returncode, **home.runs()}}
    for local in [*DAYS][1:2] if quick else DAYS:
        demo[local] = {}
        for step, job in enumerate(JOBS):
            home.set_clock(local, step)
            words = ("run", job, *DAYS[local].split(), "--json")
            demo[local][job] = home.output(home.factory(*words))
    result: dict[str, Any] = {"demo": demo} if "demo" in parts else {}
    if "json" in parts:
        result["json"] = {}
        for step, command in enumerate(lines(COMMANDS)):
            home.set_clock(local, len(JOBS) + step)
            done = home.factory(*command.split(), "--json")
            result["json"][command] = home.output(done, command)
        result["exports"] = {view: home.export(view) for view in lines(EXPORTS)}
    return result


def record(out: Path, parts: set[str], data: Path, quick: bool) -> None:
    """Record the selected parts; those that need real files only where there are some."""
    git = ("git", "rev-parse", "HEAD")
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, Any] = {"commit": done.stdout.strip(), "quick": quick}
    with tempfile.TemporaryDirectory(prefix="frozen-") as folder:
        if parts & {"demo", "json"}:
            result |= live(Home(Path(folder) / "demo", "demo"), parts, quick)
        home = Home(Path(folder) / "history", "history")
        if "history" in parts and data.is_dir():
            done = home.factory("history", str(data))
            result["history"] = {"exit": done.returncode, **home.runs()}
        if "benchmarks" in parts and data.is_dir():
            result["benchmarks"] = {}
            for entry in lines(BENCHMARKS):
                name, *options = entry.split()
                words = (f"benchmarks.{name}", "--quick", "--data", str(data), *options)
                done = home.start(sys.executable, "-m", *words)
                result["benchmarks"][name] = home.output(done, "benchmarks")
    text = json.dumps(result, indent=1, ensure_ascii=False, sort_keys=True)
    out.write_text(text + "\n", encoding="utf-8")


def leaves(value: Any, keys: Mapping[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its path, in new names."""
    if isinstance(value, (dict, list)) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, keys, f"{path}/{keys.get(str(key), key)}")
    else:
        yield path, value


def same(old: Any, new: Any, tolerance: float) -> bool:
    """Return whether two values are equal, numbers within a tolerance."""
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        close = math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)
        return close or (math.isnan(old) and math.isnan(new))
    return bool(old == new)


def compare(old: Path, new: Path, renames: dict[str, Any], ignore: str, tolerance: float) -> int:
    """Print what differs, and return 1 if something does."""
    tables = renames if renames.keys() & {"keys", "words", "paths"} else {"keys": renames}
    words = tables.get("words", {})
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words) or "(?!)")
    before = {}
    for path, value in leaves(json.loads(old.read_text(encoding="utf-8")), tables.get("keys", {})):
        for part, name in tables.get("paths", {}).items():
            path = re.sub(part, name, path)
        before[path] = value
    after = dict(leaves(json.loads(new.read_text(encoding="utf-8")), {}))
    paths = sorted((before.keys() | after.keys()) - {"/commit"})
    differing = 0
    for path in (path for path in paths if not re.search(ignore, path)):
        first, second = (side.get(path, "<absent>") for side in (before, after))
        if isinstance(first, str):
            first = pattern.sub(lambda match: words[match[0]], first)
        if not same(first, second, tolerance):
            differing += 1
            sys.stdout.write(f"{path}\n  - {first!r}\n  + {second!r}\n")
    sys.stdout.write(f"{differing} of {len(paths)} values differ.\n")
    return int(differing > 0)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--quick", action="store_true", help="one more day instead of three")
    recording.add_argument("--parts", default=",".join(PARTS), help="default %(default)s")
    recording.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    comparing = verbs.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--renames", type=Path, help="JSON of renamed keys and words")
    comparing.add_argument("--ignore", default="(?!)", help="regular expression of paths")
    comparing.add_argument("--tolerance", type=float, default=1e-9, help="default %(default)s")
    args = parser.parse_args()
    if args.verb == "compare":
        renames = json.loads(args.renames.read_text(encoding="utf-8")) if args.renames else {}
        return compare(args.old, args.new, renames, args.ignore, args.tolerance)
    parts = set(args.parts.split(","))
    if unknown := parts - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    record(args.out, parts, args.data.resolve(), args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
