"""Views for other programs: CSV or Parquet, every row with its unit and where it came from."""

from pathlib import Path

import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.errors import BadInput
from factory_lib.files import replacing


def export(view: pd.DataFrame, file: Path, origin: str, catalogue: Catalogue) -> int:
    """Write a table to ``file`` and return its rows; the suffix decides, ``.csv`` or ``.parquet``.

    Beside its own columns (of ``Store.read``: source, kind, times, run) each row
    carries ``origin``, and ``unit`` where it is of a series, so that a file that travels
    alone still says what it holds and whether it is real. A score, which no provider
    gives, counts points.

    Raises
    ------
    BadInput
        If the suffix is another, or the file cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{file.name} is neither .csv nor .parquet.")
    rows = view.copy()
    if "series" in view:
        units = {name: entry.unit for name, entry in catalogue.items()}
        rows["unit"] = view["series"].map(units).fillna("points").astype("str")
    rows["origin"] = origin
    try:
        with replacing(file) as part:
            if file.suffix == ".csv":
                rows.to_csv(part, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
            else:
                rows.to_parquet(part, index=False)
    except OSError as error:
        raise BadInput(
            f"{file} cannot be written: {error.strerror or error}.", next_step="Name another."
        ) from error
    return len(rows)
