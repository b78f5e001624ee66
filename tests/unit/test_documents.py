"""Documents that must say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.unit.test_architecture import ALLOWED, CORE

ROOT = Path(__file__).parents[2]


def test_the_data_dictionary_is_printed_from_the_catalogue() -> None:
    spec = importlib.util.spec_from_file_location(
        "data_dictionary", ROOT / "tools" / "data_dictionary.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8") == module.page()


def test_the_architecture_page_holds_the_table_of_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*) ?\|", page, flags=re.MULTILINE)
    table = {package: set(filter(None, allowed.strip().split(", "))) for package, allowed in rows}
    assert table == {name: uses for name, uses in ALLOWED.items() if name not in CORE}


def test_decisions_are_numbered_without_a_gap_or_a_repetition() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_glossary_is_short_and_in_order() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", page, flags=re.MULTILINE)[1:]
    assert terms == sorted(set(terms), key=str.lower)
    assert 40 <= len(terms) <= 60


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda p: p.name,
)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/architecture.md"])
def test_files_named_in_a_document_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|docs|config|tools|benchmarks)/[a-z0-9_./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_phony_target_of_the_makefile_does_something() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    named = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)[0].split()
    assert sorted(named) == sorted(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))


def test_every_make_target_named_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    commands = re.findall(
        r"make ((?:[a-z-]+ ?)+)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    named = {word for command in commands for word in command.split()}
    assert {"demo", "test"} <= named & targets


def test_examples_of_what_is_to_come_name_no_day_that_passes() -> None:
    """The demo's clock stands still; elsewhere a date in an example is soon of the past."""
    pages = [page for page in ROOT.glob("docs/*.md") if page.name != "quickstart.md"]
    files = [*pages, ROOT / "README.md", ROOT / "Makefile", *ROOT.glob("src/factory_lib/cli/*.py")]
    ahead = (
        r"(?:jobs pause|plan --(?:out|pin|order|day)|\"--until\"|HELP_|\bDAY=).*\b20\d\d-\d\d-\d\d"
    )
    found = [f"{file.name}: {line}" for file in files for line in _lines(file, ahead)]
    assert found == []


def _lines(file: Path, pattern: str) -> list[str]:
    """Return the lines of a file that match."""
    return [
        line for line in file.read_text(encoding="utf-8").splitlines() if re.search(pattern, line)
    ]
