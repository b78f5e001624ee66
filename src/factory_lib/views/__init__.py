"""Parts of pages: headings, summary lines, tables and charts. Frames in, pictures out."""

from factory_lib.views import learning_charts, plan_charts, series_charts
from factory_lib.views.page import heading, notes, summary
from factory_lib.views.palette import LEVEL, SEVERITY, STATUS
from factory_lib.views.shift_sheet import shift_sheet
from factory_lib.views.tables import gaps, table

__all__ = [
    "LEVEL",
    "SEVERITY",
    "STATUS",
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
