"""Check that the notebooks tell and the library computes.

Each notebook is committed without outputs, has one cell tagged ``parameters`` with ``profile``
and ``as_of``, at most 15 code cells, no definition and no loop, imports ``lab`` and ``views``
only, and begins with a title. Notebooks under ``research/`` may import and loop, and are
otherwise held to the same. ``python tools/check_notebooks.py [FOLDER]`` ends with 1 if one is not.

What Run All leaves is no fault where git would not commit it either: where the filter of
``.gitattributes`` is defined (``make setup``), a notebook is checked as it comes out of it.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
MOST_CODE_CELLS = 15
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
LOOPS = (ast.For, ast.AsyncFor, ast.While, *COMPREHENSIONS)
IMPORTS = {"lab", "views"}
METADATA = {"kernelspec"}
PARAMETERS = {"profile", "as_of"}


def faults(file: Path, *, research: bool) -> Iterator[str]:
    """Yield the faults of one notebook."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    if any(leftovers(notebook)):
        notebook = json.loads(as_committed(file))
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if not cells or cells[0]["cell_type"] != "markdown" or not source(cells[0]).startswith("# "):
        yield "does not begin with a title in a markdown cell"
    if len(code) > MOST_CODE_CELLS:
        yield f"has {len(code)} code cells, {MOST_CODE_CELLS} are allowed"
    yield from leftovers(notebook)
    yield from parameter_faults(code)
    for number, cell in enumerate(code, 1):
        for node in ast.walk(ast.parse(source(cell))):
            if fault := node_fault(node, research=research):
                yield f"code cell {number}, line {getattr(node, 'lineno', 1)}: {fault}"


def leftovers(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield what an execution left in a notebook."""
    if any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"]):
        yield "has outputs: clear them before committing"
    if more := set(notebook["metadata"]) - METADATA:
        yield f"has metadata beside the kernel: {sorted(more)}"


def as_committed(file: Path) -> str:
    """Return the text of a notebook as git would commit it."""
    text = file.read_text(encoding="utf-8")
    if shutil.which("git") is None:
        return text
    git = ["git", "-C", str(ROOT), "config", "filter.notebook.clean"]
    run = partial(subprocess.run, capture_output=True, text=True)
    clean = run(git, check=False).stdout.strip() or "cat"
    return str(run(["sh", "-c", clean], input=text, cwd=ROOT, check=True).stdout)


def source(cell: dict[str, Any]) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def parameter_faults(code: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the faults of the cell tagged ``parameters``."""
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        yield f"has {len(tagged)} cells tagged `parameters`, one is needed"
        return
    nodes = ast.walk(ast.parse(source(tagged[0])))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    if missing := PARAMETERS - names:
        yield f"does not declare the parameters {sorted(missing)}"


def node_fault(node: ast.AST, *, research: bool) -> str | None:
    """Return what is wrong with one node of a code cell, or None."""
    if isinstance(node, DEFINITIONS):
        return "a definition: logic belongs in the library, where it is tested"
    if research:
        return None
    if isinstance(node, LOOPS):
        return "a loop: the library loops"
    if isinstance(node, ast.Import):
        return f"imports more than {' and '.join(sorted(IMPORTS))}"
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        if node.module != "factory_lib" or not names <= IMPORTS:
            return f"imports more than {' and '.join(sorted(IMPORTS))}"
    return None


def main(folder: Path = NOTEBOOKS) -> int:
    """Check every notebook below a folder and return the exit code.

    Copies that JupyterLab keeps in ``.ipynb_checkpoints`` are left out.
    """
    files = [f for f in sorted(folder.rglob("*.ipynb")) if ".ipynb_checkpoints" not in f.parts]
    lines = []
    for file in files:
        name = file.relative_to(folder)
        research = name.parts[0] == "research"
        lines += [f"{name}: {fault}" for fault in faults(file, research=research)]
    sys.stdout.write("\n".join([*lines, f"{len(files)} notebooks, {len(lines)} faults"]) + "\n")
    return 1 if lines or not files else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
