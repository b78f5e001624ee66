"""An executed notebook becomes one self-contained HTML page: no script, no request, code only when asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_lib.errors import NotebookFailed
from factory_lib.runs.records import RunRecord

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).with_name("templates")
FIGURES_MIME = "application/vnd.factory.figures+json"
PARAMETER_TAGS = {"parameters", "injected-parameters"}


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
        "report_title": f"{record.job} · {record.started_at}",
        "report_css": stylesheet(),
        "report_simulated": record.simulated,
        "report_error": record.error if record.error != record.verdict else None,
        "report_open_code": False,
        "report_footer": _footer(record),
    }
    page, _ = exporter.from_notebook_node(notebook, resources)
    return str(page)


def _footer(record: RunRecord) -> str:
    parameters = ", ".join(f"{key}={value}" for key, value in record.parameters.items())
    took = f"{record.seconds:.0f} s" if record.seconds is not None else "unfinished"
    return (
        f"{record.notebook}.ipynb · {parameters} · started {record.started_at}, took {took} · "
        "times that end in Z are UTC, all others are local"
    )


def figures(notebook: NotebookNode) -> dict[str, Any]:
    """Return what the notebook's verdict lines reported, merged; later cells win."""
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.update(output.get("data", {}).get(FIGURES_MIME, {}))
    return found


def first_error(notebook: NotebookNode) -> str | None:
    """Return one line for the first error output: cell number, error name and message."""
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"Cell {number}: {output.ename}: {output.evalue}"
    return None


def declared_parameters(notebook: NotebookNode) -> set[str]:
    """Return the names that the cell tagged ``parameters`` assigns.

    Raises
    ------
    NotebookFailed
        If there is no such cell.
    """
    import ast

    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            return {
                target.id
                for node in ast.parse(cell.source).body
                if isinstance(node, (ast.Assign, ast.AnnAssign))
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name)
            }
    raise NotebookFailed(
        "The notebook has no cell tagged `parameters`.", next_step="Tag the one that holds them."
    )
