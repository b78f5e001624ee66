"""Small notebooks, each showing one behaviour of the runner, in a checkout of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from msgspec import structs

from factory_lib.settings import Settings

MakeNotebook = Callable[..., None]
PARAMETERS = "profile = 'live'\nas_of = ''\nanswer = 1"


@pytest.fixture
def checkout(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose notebooks lie in an empty folder."""
    (tmp_path / "notebooks").mkdir()
    return structs.replace(settings, paths=replace(settings.paths, root=tmp_path))


@pytest.fixture
def make_notebook(checkout: Settings) -> MakeNotebook:
    """Write a notebook with a parameters cell and the given code cells."""

    def make(name: str, *cells: str, parameters: str | None = PARAMETERS) -> None:
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        )
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"# {name}"))
        if parameters is not None:
            notebook.cells.append(
                nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
            )
        notebook.cells.extend(nbformat.v4.new_code_cell(cell) for cell in cells)
        nbformat.write(notebook, checkout.paths.notebooks / f"{name}.ipynb")

    return make
