"""JupyterLab as ``make lab`` starts it: a notebook that was only run is no change to git.

The filter of ``.gitattributes`` keeps outputs out of commits, but git lists a saved file as
modified as long as its size differs from the one it knows. After each save git is shown the
file again, unless there is more to commit than outputs. Nothing is added that is not tracked.
"""

import subprocess
from pathlib import Path
from typing import Any

SHOW = 'git diff --quiet -- "$1" && git add --update -- "$1"'


def show_git(model: dict[str, Any], os_path: str, **_: Any) -> "subprocess.Popen[bytes] | None":
    """Let git look at a saved notebook, meanwhile the server goes on; return the process."""
    if model["type"] != "notebook":
        return None
    file = Path(os_path)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(["sh", "-c", SHOW, "sh", file.name], cwd=file.parent, **quiet)


if "get_config" in globals():  # Jupyter reads this file so
    get_config().FileContentsManager.post_save_hook = show_git  # type: ignore[name-defined]  # noqa: F821
