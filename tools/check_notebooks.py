"""Check the notebooks' house rules: told, not programmed; clean; parameterised.

Each notebook is committed without outputs, has one cell tagged ``parameters`` with
``profile`` and ``as_of``, at most 15 code cells, no definition and no loop, imports
``lab`` and ``views`` only, and begins with a title. Notebooks under ``research/`` may
import and loop, and are otherwise held to the same.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CODE_CELLS = 15
FORBIDDEN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
LOOPS = (ast.For, ast.While, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
DOORS = {"lab", "views"}


def faults(file: Path) -> Iterator[str]:
    """Yield what is wrong with one notebook, in words."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if (
        not cells
        or cells[0]["cell_type"] != "markdown"
        or not "".join(cells[0]["source"]).startswith("# ")
    ):
        yield "does not begin with a title in a markdown cell"
    if len(code) > CODE_CELLS:
        yield f"has {len(code)} code cells, {CODE_CELLS} are allowed"
    if any(cell.get("outputs") or cell.get("execution_count") for cell in code):
        yield "has outputs: clear them before committing"
    if set(notebook["metadata"]) - {"kernelspec", "language_info"}:
        yield f"has metadata beside the kernel: {sorted(set(notebook['metadata']) - {'kernelspec', 'language_info'})}"
    yield from _parameter_faults(code)
    research = file.parent.name == "research"
    for number, cell in enumerate(code, 1):
        tree = ast.parse("".join(cell["source"]))
        yield from (f"code cell {number} {what}" for what in _code_faults(tree, research=research))


def _parameter_faults(code: list[dict[str, Any]]) -> Iterator[str]:
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        yield f"has {len(tagged)} cells tagged `parameters`, one is needed"
        return
    names = {
        target.id
        for node in ast.parse("".join(tagged[0]["source"])).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if missing := {"profile", "as_of"} - names:
        yield f"does not declare the parameters {sorted(missing)}"


def _code_faults(tree: ast.Module, *, research: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, FORBIDDEN):
            yield f"defines something at line {node.lineno}: logic belongs in the library, where it is tested"
        if research:
            continue
        if isinstance(node, LOOPS):
            yield f"loops at line {node.lineno}: the library loops"
        if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom)
            and not (node.module == "factory_lib" and {alias.name for alias in node.names} <= DOORS)
        ):
            yield f"imports more than {' and '.join(sorted(DOORS))} at line {node.lineno}"


def main() -> int:
    """Check every notebook below ``notebooks/`` and return the exit code."""
    files = sorted(Path("notebooks").rglob("*.ipynb"))
    found = [f"{file}: {fault}" for file in files for fault in faults(file)]
    sys.stdout.write("\n".join([*found, f"{len(files)} notebooks, {len(found)} faults"]) + "\n")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
