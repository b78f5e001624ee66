"""The check of the notebooks: which ones it refuses, and why."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from factory_lib.settings import ROOT

PARAMETERS = "profile = 'live'\nas_of = ''"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", ROOT / "tools" / "check_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(file: Path, *cells: str, parameters: str = PARAMETERS, output: str = "") -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells.append(nbformat.v4.new_markdown_cell("# Title"))
    tags = {"tags": ["parameters"]}
    notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata=tags))
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    if output:
        notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text=output)]
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)


def test_the_notebooks_of_the_project_pass(tool: ModuleType) -> None:
    assert tool.main() == 0


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted(
    (ROOT / "notebooks" / "research").glob("*.ipynb")
)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=[file.stem for file in NOTEBOOKS])
def test_each_notebook_ends_with_lines_to_go_on_from(file: Path) -> None:
    *_, heading, cell = nbformat.read(file, as_version=4).cells
    assert heading.source == "## Go on from here"
    assert cell.metadata["tags"] == ["go-on"]
    assert 3 <= len(cell.source.splitlines()) <= 5


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        pytest.param("def f():\n    return 1", "a definition", id="function"),
        pytest.param("f = lambda x: x", "a definition", id="lambda"),
        pytest.param("class A:\n    pass", "a definition", id="class"),
        pytest.param("for x in range(3):\n    x", "a loop", id="loop"),
        pytest.param("[x for x in range(3)]", "a loop", id="comprehension"),
        pytest.param("import pandas", "imports more than lab and views", id="import"),
        pytest.param("from factory_lib import store", "imports more", id="import of the library"),
    ],
)
def test_logic_in_a_notebook_is_refused_but_for_research(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: str, fault: str
) -> None:
    write(tmp_path / "page.ipynb", cell)
    assert tool.main(tmp_path) == 1
    assert fault in capsys.readouterr().out
    (tmp_path / "page.ipynb").unlink()
    write(tmp_path / "research" / "page.ipynb", cell)
    assert tool.main(tmp_path) == (1 if fault == "a definition" else 0)


def test_outputs_missing_parameters_and_too_many_cells_are_refused(
    tool: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tool, "ROOT", tmp_path)  # no checkout, so no filter
    write(tmp_path / "a.ipynb", "1 + 1", output="2")
    write(tmp_path / "b.ipynb", parameters="profile = 'live'")
    write(tmp_path / "c.ipynb", *["1"] * 15)
    assert tool.main(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a.ipynb: has outputs: clear them before committing",
        "b.ipynb: does not declare the parameters ['as_of']",
        "c.ipynb: has 16 code cells, 15 are allowed",
        "3 notebooks, 3 faults",
    ]


def test_copies_that_jupyter_keeps_are_left_out(tool: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "page.ipynb", "1 + 1")
    write(tmp_path / ".ipynb_checkpoints" / "page-checkpoint.ipynb", "1 + 1", output="2")
    assert tool.main(tmp_path) == 0


UNTOUCHED = "A  notebooks/research/page.ipynb\n"


def make_filter(folder: Path) -> None:
    """Define the filter as ``make setup`` does, with the environment of these tests."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    subprocess.run(["make", "-C", folder, "notebook-filter"], check=True, timeout=60)


def show_git(file: Path) -> None:
    """Do what JupyterLab does after it has saved a notebook."""
    config = runpy.run_path(str(ROOT / "tools" / "jupyter" / "jupyter_server_config.py"))
    config["show_git"]({"type": "notebook"}, str(file)).wait(60)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_what_an_execution_leaves_is_no_change_to_git_and_no_fault(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git" / "info" / "exclude").write_text(".venv\nMakefile\n.gitattributes\n")
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    file = tmp_path / "notebooks" / "research" / "page.ipynb"
    file.parent.mkdir(parents=True)
    file.write_bytes(NOTEBOOKS[0].read_bytes())
    make_filter(tmp_path)
    git(tmp_path, "add", "notebooks")
    committed = git(tmp_path, "show", ":notebooks/research/page.ipynb")
    notebook = nbformat.read(file, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.13.1"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[0].update(execution_count=7, outputs=[nbformat.v4.new_output("stream", text="seen")])
    nbformat.write(notebook, file)
    assert git(tmp_path, "diff") == ""
    show_git(file)
    assert git(tmp_path, "status", "--porcelain") == UNTOUCHED
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    assert tool.main(tmp_path / "notebooks") == 0
    code[0].source += "  # edited"
    nbformat.write(notebook, file)
    show_git(file)
    assert git(tmp_path, "status", "--porcelain") == UNTOUCHED.replace("A  ", "AM ")
    git(tmp_path, "add", "notebooks")
    edited = git(tmp_path, "show", ":notebooks/research/page.ipynb")
    assert edited != committed
    assert edited.replace("  # edited", "") == committed


def test_the_filter_leaves_the_committed_notebooks_as_they_are() -> None:
    from nbstripout import strip_output

    for file in NOTEBOOKS:
        notebook = nbformat.read(file, nbformat.NO_CONVERT)
        keys = ["metadata.language_info"]
        clean = strip_output(notebook, False, False, True, extra_keys=keys)
        assert nbformat.writes(clean) == file.read_text(encoding="utf-8").rstrip("\n"), file


def test_a_folder_within_another_checkout_does_not_change_that_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    before = (tmp_path / ".git" / "config").read_bytes()
    make_filter(tmp_path / "unpacked")
    assert (tmp_path / ".git" / "config").read_bytes() == before
