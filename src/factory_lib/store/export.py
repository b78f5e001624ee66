"""Views for other programs: CSV or Parquet, every row with its unit and where it came from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from factory_lib import series as catalogue
from factory_lib.errors import BadInput


def export(view: pd.DataFrame, file: Path, world: str) -> int:
    """Write view or forecast rows to ``file`` and return how many; the suffix decides, ``.csv`` or ``.parquet``.

    Beside the columns of ``Store.read`` (source, kind, times, run) each row carries ``unit`` and ``world``, so that a
    file that travels alone still says what it holds and whether it is real.

    Raises
    ------
    BadInput
        If the suffix is another, or the file cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{file.name} is neither .csv nor .parquet.")
    units = {name: catalogue.get(name).unit for name in view["series"].unique()}
    rows = view.assign(unit=view["series"].map(units).astype("str"), world=world)
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            rows.to_csv(part, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        else:
            rows.to_parquet(part, index=False)
        part.replace(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror or error}.", next_step="Name another.") from error
    return len(rows)
