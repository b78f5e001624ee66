"""Notebooks as papermill runs them: no cell fails, and none warns or prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill

from factory_lib.settings import ROOT


def execute(source: Path, target: Path, parameters: Mapping[str, Any]) -> Any:
    """Return the executed notebook."""
    papermill.execute_notebook(
        str(source), str(target), dict(parameters), progress_bar=False, cwd=str(ROOT)
    )
    notebook = nbformat.read(target, as_version=4)
    assert printed(notebook) == []
    return notebook


def printed(notebook: Any) -> list[str]:
    """Return what its cells wrote, warnings among it."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.text for output in outputs if output.output_type == "stream"]
