"""The house's arrows: which room may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "factory_lib"
EVERYONE = {"errors", "clock", "series", "slots", "frames", "settings", "__init__"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "series": set(),
    "slots": set(),
    "frames": set(),
    "settings": set(),
    "state": set(),
    "net": {"state"},
    "sources": {"net", "state"},
    "store": {"state"},
    "domain": set(),
    "features": {"domain"},
    "plan": {"domain"},
    "views": set(),
    "house": {"state", "store"},
    "pipeline": {"sources", "store", "domain", "state", "house"},
    "models": {"store", "features", "domain", "house"},
    # it examines and reports on every room, so it may look into sources and net; it asks for no values
    "ops": {"pipeline", "models", "plan", "views", "store", "state", "house", "domain", "features", "sources", "net"},
    "lab": {"ops", "pipeline", "models", "plan", "views", "store", "state", "house", "domain", "features"},
    "simulator": {"domain"},
    "cli": {"ops", "simulator"},
}
# Where a scheduled tick passes through: standard library only.
TICK = (
    "cli",
    "errors",
    "clock",
    "series",
    "state",
    "settings",
    "pipeline/__init__",
    "pipeline/due",
    "ops/__init__",
    "ops/jobs",
    "ops/world",
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


def room_of(file: Path) -> str:
    """Return the room a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_rooms_import_only_what_the_plan_allows(file: Path) -> None:
    room = room_of(file)
    if room == "__init__":
        return
    used = {name.split(".")[1] for name in imported(file) if name.startswith("factory_lib.")}
    assert used - {room} - EVERYONE <= ALLOWED[room]


@pytest.mark.parametrize("module", TICK)
def test_a_tick_imports_nothing_heavy(module: str) -> None:
    files = [SOURCE / f"{module}.py"] if (SOURCE / f"{module}.py").exists() else sorted((SOURCE / module).glob("*.py"))
    for file in files:
        assert {name.split(".")[0] for name in imported(file, everywhere=False)} & HEAVY == set()


def test_every_room_is_in_the_plan() -> None:
    assert {room_of(file) for file in FILES} - {"__init__", "__main__"} <= set(ALLOWED)
