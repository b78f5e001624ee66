"""A damaged file costs its own part of the pages alone, and is said in a sentence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from factory_lib.runs.listing import RunList
from factory_lib.service import pages
from factory_lib.service.app import make_app
from factory_lib.service.reading import Reading
from tests.support import service_home
from tests.support.asgi import Client
from tests.unit.service.conftest import NOW

PAGES = [path for path in pages.PAGES if "{" not in path]
DATABASES = {"/", "/plan", "/prices", "/data", "/models", "/status"}
# By file: the pages that cannot be shown without it.
FILES: dict[str, set[str]] = {
    "data/demo/store.db": DATABASES,
    "data/demo/state.db": DATABASES,
    "data/demo/plans/plan.json": set(),
    "data/demo/plans/advice.json": set(),
    "data/demo/plans/overrides.json": set(),
    "data/demo/plans/2*/*.json": set(),
    "runs/demo/mlflow.db": {"/models"},
    "runs/demo/2*/*/run.json": set(),
    "runs/demo/2*/*/report.html": set(),
}


REGISTRY = """CREATE TABLE model_versions (name, version, creation_time, run_id, current_stage);
CREATE TABLE registered_model_aliases (name, version, alias);
CREATE TABLE model_version_tags (name, version, key, value);
CREATE TABLE runs (id, lifecycle_stage);
INSERT INTO model_versions VALUES ('spot_price', 1, 0, 'a', 'None');"""


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


KINDS: dict[str, Callable[[Path], Any]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "noise": lambda file: file.write_bytes(bytes(range(256)) * 40),
    "cut": cut,
    "folder": folder,
    "number": lambda file: file.write_bytes(b"7"),
    "list": lambda file: file.write_bytes(b"[1, [2]]"),
    "deep": lambda file: file.write_bytes(b"[" * 100_000),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of a few days, with every kind of file that pages read."""
    folder = tmp_path_factory.mktemp("small")
    service_home.build(folder, NOW, days=4, runs=3, forecast_days=1)
    (folder / "data/demo/plans/overrides.json").write_text("[]", encoding="utf-8")
    with closing(sqlite3.connect(folder / "runs/demo/mlflow.db")) as registry:
        registry.executescript(REGISTRY)
    (folder / "runs/demo/mlflow.lock").write_text("file:///models\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def demo(home: Path) -> Iterator[Reading]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTORY_HOME", str(home))
        yield Reading("demo")


@contextmanager
def served(demo: Reading) -> Iterator[Client]:
    demo.runs = RunList(demo.runs.root)  # what was read of runs is not read again
    with closing(Client(make_app(demo))) as client:
        yield client


@pytest.fixture
def keep(home: Path) -> Iterator[Callable[[str], Path]]:
    """Give a file by name, which is as it was afterwards."""
    before: dict[Path, bytes] = {}

    def find(name: str) -> Path:
        file = next(home.glob(name))
        before[file] = file.read_bytes()
        return file

    yield find
    for file, content in before.items():
        if file.is_dir():
            file.rmdir()
        file.write_bytes(content)


CASES = [
    (name, kind)
    for name, kind in product(FILES, KINDS)
    if name.endswith(".json") or kind in ("noise", "folder")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_damaged_file_costs_its_part_alone(
    demo: Reading, keep: Callable[[str], Path], name: str, kind: str
) -> None:
    KINDS[kind](keep(name))
    with served(demo) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code in ((200, 503) if path in FILES[name] else (200,)), path
            if answer.status_code == 503:
                assert 'class="notice"' in answer.text
        for row in client.get("/runs.json").json()["runs"]:
            shown = client.get(f"/runs/{row['folder']}").status_code
            assert shown == (200 if row["has_report"] else 404)


@pytest.mark.parametrize("value", [7, {"a": []}], ids=repr)
@pytest.mark.parametrize(("name", "path"), [("plan", "/plan"), ("advice", "/")])
def test_values_of_a_wrong_type_are_damage(
    demo: Reading, keep: Callable[[str], Path], name: str, path: str, value: Any
) -> None:
    file = keep(f"data/demo/plans/{name}.json")
    content = json.loads(file.read_bytes())
    with served(demo) as client:
        for *way, last in places(content):
            place = content
            for part in way:
                place = place[part]
            before = place[last]
            if type(before) in (int, float) and value == 7:
                continue
            place[last] = value
            file.write_text(json.dumps(content), encoding="utf-8")
            assert client.get(path).status_code == 200, (way, last)
            place[last] = before


def test_the_newest_copy_stands_in_for_a_damaged_plan(
    demo: Reading, keep: Callable[[str], Path]
) -> None:
    keep("data/demo/plans/plan.json").write_text('{"stages": 5}', encoding="utf-8")
    with served(demo) as client:
        page = client.get("/plan").text
        assert "<code>make plan</code> writes it again. Shown is the newest copy." in page
        assert "kg in 2 batches" in page
        assert "Batch 1 starts" in client.get("/").text


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value: of a list, to those of its first entry."""
    entries = content.items() if isinstance(content, dict) else list(enumerate(content))[:1]
    for key, value in entries:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))
