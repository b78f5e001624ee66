"""What notebooks and pages show: headings, verdict lines, tables, charts. Frames in, pictures out."""

from factory_lib.views.page import heading, local, notes, verdict
from factory_lib.views.tables import table

__all__ = ["heading", "local", "notes", "table", "verdict"]
