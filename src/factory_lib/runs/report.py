"""Executed notebooks as self-contained HTML pages: no script, no request, code only on demand."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_lib.errors import NotebookFailed
from factory_lib.results import METRICS_MIME
from factory_lib.runs.records import RunRecord

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).with_name("templates")


@cache
def stylesheet() -> str:
    """Return the one style sheet of reports and index."""
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")


def render(notebook: NotebookNode, record: RunRecord, *, code: bool = False) -> str:
    """Return the page of an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
        With outputs.
    record : RunRecord
        Status, parameters and times for the head and foot of the page.
    code : bool
        Show the cells' source, folded.
    """
    from nbconvert.exporters import HTMLExporter

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    resources: dict[str, Any] = {
        "report_css": stylesheet(),
        "report_error": record.error if record.error != record.summary else None,
        "report_run": record,
    }
    page, _ = exporter.from_notebook_node(notebook, resources)
    return str(page)


def metrics(notebook: NotebookNode) -> dict[str, Any]:
    """Return the metrics that the notebook's summary lines carry, merged; later cells win."""
    merged: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            merged.update(output.get("data", {}).get(METRICS_MIME, {}))
    return merged


def declared_parameters(notebook: NotebookNode) -> set[str]:
    """Return the names that the cell tagged ``parameters`` assigns.

    Raises
    ------
    NotebookFailed
        If there is no such cell.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            nodes = ast.walk(ast.parse(cell.source))
            names = (node for node in nodes if isinstance(node, ast.Name))
            return {name.id for name in names if isinstance(name.ctx, ast.Store)}
    raise NotebookFailed(
        "The notebook has no cell tagged `parameters`.", next_step="Tag the one that holds them."
    )
