"""The report of a run: one self-contained HTML page, without a script or a request.

It shows the executed notebook, its code only on demand.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory_lib.errors import NotebookFailed
from factory_lib.results import METRICS_MIME
from factory_lib.runs import records

Notebook = Any  # nbformat's NotebookNode; nbformat is imported when a job runs
TEMPLATES = Path(__file__).with_name("templates")


def parted(summary: str) -> tuple[str, str]:
    """Return the verdict, which is a summary's first sentence, and the rest."""
    verdict, _, rest = re.sub(r"(?<=[^\d][.;]) ", "\n", summary).partition("\n")
    return verdict.rstrip(";."), rest[:1].upper() + rest[1:].replace("\n", " ")


def stylesheet() -> str:
    """Return the one style sheet of reports and index."""
    from factory_lib.views import palette  # a tick with nothing to do imports no pandas

    return palette.css() + (TEMPLATES / "style.css").read_text(encoding="utf-8")


def render(
    notebook: Notebook, record: records.RunRecord, *, code: bool = False, mlflow_page: str = ""
) -> str:
    """Return the page of an executed notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        With outputs.
    record : records.RunRecord
        Status, parameters and times for the head and foot of the page.
    code : bool
        Show the cells' source, folded.
    mlflow_page : str
        Address of the MLflow run that the notebook made.
    """
    from nbconvert.exporters import HTMLExporter

    from factory_lib.views.page import prose
    from factory_lib.views.tables import local_minute
    from factory_lib.views.words import Words

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        filters={"prose": prose, "local": local_minute, "words": Words("en").name},
    )
    verdict, rest = parted(record.summary)
    resources: dict[str, Any] = {
        "report_css": stylesheet(),
        "report_error": record.error if record.error != record.summary else None,
        "report_run": record,
        "report_mlflow": mlflow_page,
        "verdict": verdict,
        "rest": rest,
    }
    page, _ = exporter.from_notebook_node(notebook, resources)
    # the verdict is the page's first heading, the notebook's title its second
    return re.sub(r"<h1 id=(.*?)</h1>", r"<h2 id=\1</h2>", str(page), count=1, flags=re.DOTALL)


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
