"""Files are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_lib.files import replacing, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_whole_and_its_folder_created(tmp_path: Path) -> None:
    file = tmp_path / "new" / "plan.json"
    write_atomically(file, "año")
    write_atomically(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert names(file.parent) == ["plan.json"]


def test_an_exception_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    write_atomically(file, "before")
    with pytest.raises(ValueError, match="half"), replacing(file) as part:
        part.write_text("half of it")
        raise ValueError("half of it")
    assert file.read_text() == "before"
    assert names(tmp_path) == ["plan.json"]
