"""Parts of pages: headings, summary lines, tables and charts. Frames in, pictures out.

The charts of notebooks are imported when they are first used: they bring matplotlib, which
the live page does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from factory_lib.views.page import file_links, heading, notes, summary
from factory_lib.views.palette import LEVEL, SEVERITY, STATUS
from factory_lib.views.shift_sheet import shift_sheet
from factory_lib.views.tables import gaps, table

if TYPE_CHECKING:
    from factory_lib.views import learning_charts, plan_charts, series_charts

__all__ = [
    "LEVEL",
    "SEVERITY",
    "STATUS",
    "file_links",
    "gaps",
    "heading",
    "learning_charts",
    "notes",
    "plan_charts",
    "series_charts",
    "shift_sheet",
    "summary",
    "table",
]


def __getattr__(name: str) -> Any:
    """Import a module of charts when it is first named."""
    if name.endswith("_charts") and name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
