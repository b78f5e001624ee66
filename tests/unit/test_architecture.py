"""The arrows of the architecture: which package may import which."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "factory_lib"
CORE = {
    "errors",
    "failures",
    "clock",
    "catalogue",
    "slots",
    "frames",
    "files",
    "results",
    "settings",
    "__init__",
}
# Beside CORE; no package may import everything.
ALLOWED: dict[str, set[str]] = {
    **{module: set() for module in CORE},
    "state": set(),
    "http": {"state"},
    "sources": {"http", "state"},
    "store": {"state"},
    "domain": set(),
    "features": {"domain"},
    "views": set(),
    "planner": {"domain"},
    "context": {"state", "store"},
    "pipeline": {"context", "sources", "state", "store"},
    "importers": {"context", "pipeline", "sources", "state", "store"},
    "models": {"context", "domain", "features", "state"},
    "planning": {"context", "domain", "features", "models", "planner"},
    "analysis": {"context", "domain", "features", "models", "pipeline", "planner"},
    "runs": {"context", "models", "sources", "state", "views"},
    # health and diagnostics examine every package, and ask providers whether they are there
    "monitoring": {
        "context",
        "http",
        "models",
        "pipeline",
        "planning",
        "runs",
        "sources",
        "state",
        "store",
        "views",
    },
    "admin": {"planning", "context", "importers", "models", "pipeline", "runs", "state", "store"},
    "lab": {
        "admin",
        "analysis",
        "context",
        "models",
        "monitoring",
        "pipeline",
        "planning",
        "runs",
        "views",
    },
    "service": {
        "context",
        "domain",
        "features",
        "models",
        "monitoring",
        "pipeline",
        "planning",
        "runs",
        "state",
        "views",
    },
    "cli": {
        "admin",
        "context",
        "importers",
        "models",
        "monitoring",
        "pipeline",
        "planning",
        "runs",
        "service",
        "state",
        "views",
    },
}
# Where a scheduled tick passes through: standard library and click only.
TICK = (
    "cli/__init__",
    "errors",
    "failures",
    "clock",
    "catalogue",
    "files",
    "state",
    "settings",
    "pipeline/__init__",
    "runs/__init__",
    "runs/due",
    "runs/records",
    "runs/schedule",
    "runs/simulation",
    "runs/status",
    "cli/app",
    "cli/jobs",
    "cli/common",
)
HEAVY = {
    "numpy",
    "pandas",
    "requests",
    "matplotlib",
    "mlflow",
    "papermill",
    "nbformat",
    "sklearn",
    "scipy",
    "influxdb_client",
    "pyarrow",
}


def imported(file: Path, *, everywhere: bool = True) -> Iterator[str]:
    """Yield the modules a file imports; at module level only, unless ``everywhere``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names)
                if node.module == "factory_lib"
                else (node.module,)
            )


def package_of(file: Path) -> str:
    """Return the package a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_packages_import_only_what_the_table_allows(file: Path) -> None:
    package = package_of(file)
    if package == "__init__":
        return
    used = {name.split(".")[1] for name in imported(file) if name.startswith("factory_lib.")}
    assert used - {package} - CORE <= ALLOWED[package]


@pytest.mark.parametrize("module", TICK)
def test_a_tick_imports_nothing_heavy(module: str) -> None:
    files = (
        [SOURCE / f"{module}.py"]
        if (SOURCE / f"{module}.py").exists()
        else sorted((SOURCE / module).glob("*.py"))
    )
    for file in files:
        assert {name.split(".")[0] for name in imported(file, everywhere=False)} & HEAVY == set()


def test_sql_is_in_the_packages_that_keep_a_database() -> None:
    """MLflow's own database is read, and a moved folder is named anew in it."""
    statement = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|BEGIN) ")
    others = {
        file.relative_to(SOURCE).as_posix()
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and statement.match(node.value)
        and package_of(file) not in ("state", "store")
    }
    assert others == {"models/tracking.py"}


def test_every_package_is_in_the_table() -> None:
    assert {package_of(file) for file in FILES} - {"__main__"} <= set(ALLOWED)


@pytest.mark.parametrize("package", ["cli", "monitoring", "planner", "service", "views"])
def test_what_people_read_is_in_the_time_of_the_plant(package: str) -> None:
    for file in (SOURCE / package).rglob("*.py"):
        names = {
            node.id
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Name)
        }
        assert "MADRID" not in names, f"{file}: clock.display_zone() or Plant.zone is meant"


@pytest.mark.parametrize("package", ["domain", "features", "planner", "store", "sources"])
def test_computation_asks_for_no_zone_of_display(package: str) -> None:
    for file in (SOURCE / package).rglob("*.py"):
        assert "display_zone" not in file.read_text("utf-8"), f"{file}: Plant.zone is meant"
