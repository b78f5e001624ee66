"""The comparison of two records of outputs: what it finds, and what a table of renames explains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "frozen_outputs.py"
OLD = {"commit": "a", "plan": {"cost_eur": 42.5, "verdict": "3 slots barred", "batches": [1, 2]}}


@pytest.mark.parametrize(
    ("plan", "renames", "differing"),
    [
        pytest.param(OLD["plan"], {}, [], id="same"),
        pytest.param(
            {"cost_eur": 42.5 + 1e-12, "verdict": "3 slots barred", "batches": [1, 2]},
            {},
            [],
            id="within the tolerance",
        ),
        pytest.param(
            {"cost_eur": 42.6, "verdict": "3 slots barred", "batches": [1, 3]},
            {},
            ["/plan/cost_eur", "/plan/batches/1"],
            id="numbers",
        ),
        pytest.param(
            {"cost_eur": 42.5, "summary": "3 slots quarantined", "batches": [1, 2]},
            {"keys": {"verdict": "summary"}, "words": {"barred": "quarantined"}},
            [],
            id="renamed",
        ),
        pytest.param(
            {"price_eur": 42.5, "verdict": "3 slots barred", "batches": [1, 2]},
            {"paths": {"^/plan/cost_": "/plan/price_"}},
            [],
            id="renamed in one place",
        ),
        pytest.param(
            {"cost_eur": 42.5, "summary": "4 slots barred", "batches": [1, 2]},
            {"verdict": "summary"},
            ["/plan/summary"],
            id="renamed and changed",
        ),
    ],
)
def test_a_comparison_prints_the_paths_that_differ(
    tmp_path: Path, plan: Any, renames: dict[str, Any], differing: list[str]
) -> None:
    contents = {"old": OLD, "new": {"commit": "b", "plan": plan}, "renames": renames}
    files = {name: tmp_path / f"{name}.json" for name in contents}
    for name, content in contents.items():
        files[name].write_text(json.dumps(content), encoding="utf-8")
    words = ("compare", files["old"], files["new"], "--renames", files["renames"])
    done = subprocess.run(
        [sys.executable, str(TOOL), *map(str, words)], capture_output=True, text=True, check=False
    )
    printed = [line for line in done.stdout.splitlines() if line.startswith("/")]
    assert sorted(printed) == sorted(differing)
    assert done.returncode == int(bool(differing)), done.stderr
