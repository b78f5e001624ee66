"""Self-contained HTML pages, without a script or a request: a report of each run, and their index.

A report shows the executed notebook, its code only on demand; ``runs/index.html`` every
run, newest first, with status and metrics.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from factory_lib.errors import NotebookFailed
from factory_lib.files import write_atomically
from factory_lib.results import METRICS_MIME
from factory_lib.runs import records
from factory_lib.settings import Paths

Notebook = Any  # nbformat's NotebookNode; nbformat is imported when a job runs
MOST = 500
TEMPLATES = Path(__file__).with_name("templates")


def _stylesheet() -> str:
    """Return the one style sheet of reports and index."""
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")


def render(notebook: Notebook, record: records.RunRecord, *, code: bool = False) -> str:
    """Return the page of an executed notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        With outputs.
    record : records.RunRecord
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
        "report_css": _stylesheet(),
        "report_error": record.error if record.error != record.summary else None,
        "report_run": record,
    }
    page, _ = exporter.from_notebook_node(notebook, resources)
    return str(page)


def metrics(notebook: Notebook) -> dict[str, Any]:
    """Return the metrics that the notebook's summary lines carry, merged; later cells win."""
    merged: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            merged.update(output.get("data", {}).get(METRICS_MIME, {}))
    return merged


def declared_parameters(notebook: Notebook) -> dict[str, set[str]]:
    """Return the parameters that the cell tagged ``parameters`` assigns, and the types of each.

    The types are those of the annotation, or else that of the default; none where
    neither says one.

    Raises
    ------
    NotebookFailed
        If there is no such cell, or it is not Python.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            try:
                return dict(_assignments(ast.parse(cell.source)))
            except SyntaxError as error:
                raise NotebookFailed(
                    f"The cell tagged `parameters` is not Python: {error}.",
                    next_step="Restore the notebook from version control.",
                ) from error
    raise NotebookFailed(
        "The notebook has no cell tagged `parameters`.", next_step="Tag the one that holds them."
    )


def _assignments(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            types = set(ast.unparse(node.annotation).replace(" ", "").split("|"))
            yield node.target.id, types | ({"None"} if _default(node) is None else set())
        elif isinstance(node, ast.Assign):
            default = _default(node)
            types = set() if default is None else {type(default).__name__}
            yield from ((name.id, types) for name in node.targets if isinstance(name, ast.Name))


def _default(node: ast.Assign | ast.AnnAssign) -> Any:
    return node.value.value if isinstance(node.value, ast.Constant) else None


def write_index(paths: Paths) -> Path:
    """Write the index of one profile's runs and return its file."""
    from jinja2 import Environment, FileSystemLoader

    folders = list(records.folders(paths.runs))
    runs = [(folder, records.read_record(folder)) for folder in folders[:MOST]]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("index.html.j2").render(
        css=_stylesheet(),
        total=len(folders),
        runs=runs,
        root=paths.runs,
        metrics_line=_metrics_line,
        simulated=any(record.simulated for _, record in runs),
    )
    file = paths.runs / "index.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, page)
    return file


def _metrics_line(metrics: Mapping[str, Any]) -> str:
    shown = {key: f"{v:.3g}" if isinstance(v, float) else v for key, v in metrics.items()}
    return " · ".join(f"{key} {value}" for key, value in shown.items())
