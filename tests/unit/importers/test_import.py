from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, ImportFileError, OriginMismatch, StoreUnavailable
from factory_lib.importers import import_history, import_path

if TYPE_CHECKING:
    from .conftest import Writer

DAY = date(2023, 5, 28)
NAME = "marginalpdbc_20230528"
WINDOW = {
    "start": pd.Timestamp("2014-01-01", tz="UTC"),
    "end": pd.Timestamp("2027-01-01", tz="UTC"),
}


def ledger(ctx: RunContext) -> dict[str, str]:
    """Return how far the import of each member came."""
    return dict(ctx.state.query("SELECT member, status FROM import_ledger"))


def prices(ctx: RunContext, **options: object) -> pd.DataFrame:
    window = {**WINDOW, **options}
    return ctx.store.read("spot_eur_mwh", places=["ES"], **window)  # type: ignore[arg-type]


def saved(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.write_bytes(text.encode(encoding))
    return file


def test_second_import_changes_nothing_and_finds_the_same(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    file = tmp_path / "spot.csv.gz"
    file.write_bytes(gzip.compress(write.spot("2024-01-01T00:00Z", [1.0, 2.0, 3.0]).encode()))
    first = import_path(ctx, file)
    stored = prices(ctx, raw=True)
    second = import_path(ctx, file)
    assert (first.metrics["new"], second.metrics["new"], second.metrics["unchanged"]) == (3, 0, 3)
    assert second.metrics["revised"] == 0
    pd.testing.assert_frame_equal(prices(ctx, raw=True), stored)
    assert second["places"].equals(first["places"])
    assert (first["members"]["state"].tolist(), second["members"]["state"].tolist()) == (
        ["stored"],
        ["repeated"],
    )


def test_later_edition_revises_the_earlier_one(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    archive = write.tar_gz(
        tmp_path / "omie.tar.gz",
        {
            f"omie/{NAME}.2": write.omie(DAY, [2.0] * 24),
            f"omie/{NAME}.1": write.omie(DAY, [1.0] * 24),
        },
    )
    report = import_path(ctx, archive)
    assert (report.metrics["new"], report.metrics["revised"]) == (24, 24)
    assert set(prices(ctx)["value"]) == {2.0}
    assert set(prices(ctx, raw=True)["rev"]) == {1, 2}


def test_earlier_edition_that_comes_late_is_history(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    import_path(ctx, saved(tmp_path / f"{NAME}.2", write.omie(DAY, [2.0] * 24)))
    late = import_path(ctx, saved(tmp_path / f"{NAME}.1", write.omie(DAY, [1.0] * 24)))
    assert late["members"]["state"].tolist() == ["superseded"]
    assert late.metrics["new"] == late.metrics["revised"] == 0
    assert set(prices(ctx)["value"]) == {2.0}


def test_folder_may_mix_formats_and_names_files_of_no_known_format(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    saved(folder / "a.csv", write.spot("2024-01-01T00:00Z", [1.0, 2.0]))
    saved(folder / "b.csv", write.siar({date(2005, 3, 1): "12,5"}), "utf-16-le")
    saved(folder / "README.md", "# read me")
    report = import_path(ctx, folder)
    assert report.metrics["new"] == 2 + 9
    assert report["members"].set_index("member")["state"].to_dict() == {
        "a.csv": "stored",
        "b.csv": "stored",
        "README.md": "unknown",
    }
    assert report.status == "warn"


def test_unreadable_member_costs_only_itself_and_stays_visible(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    archive = write.tar_gz(
        tmp_path / "omie.tar.gz",
        {
            f"omie/{NAME}.1": write.omie(DAY, [1.0] * 24),
            "omie/marginalpdbc_20230529.1": "MARGINALPDBC;\r\n2023;05;",
        },
    )
    report = import_path(ctx, archive)
    assert report.status == "fail"
    assert report.metrics["new"] == 24
    assert report["rejected"]["member"].tolist() == ["omie.tar.gz: marginalpdbc_20230529.1"]
    assert ledger(ctx)["marginalpdbc_20230529.1"] == "started"
    assert list(ledger(ctx).values()).count("started") == 1


def test_import_that_broke_off_is_visible_and_completed_by_the_next(
    ctx: RunContext, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "spot.csv", write.spot("2024-01-01T00:00Z", [1.0, 2.0]))

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(ctx.store, "write", down)
        with pytest.raises(StoreUnavailable):
            import_path(ctx, file)
    assert set(ledger(ctx).values()) == {"started"}
    assert import_path(ctx, file).metrics["new"] == 2
    assert set(ledger(ctx).values()) == {"complete"}


def test_store_that_lost_its_rows_gets_them_again(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    file = saved(tmp_path / "spot.csv", write.spot("2024-01-01T00:00Z", [1.0, 2.0]))
    import_path(ctx, file)
    ctx.store.close()
    ctx.settings.paths.store.unlink()
    with open_context(settings=ctx.settings, clock=ctx.clock) as rebuilt:
        assert import_path(rebuilt, file).metrics["new"] == 2


def test_value_corrected_after_the_import_survives_its_repetition(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    file = saved(tmp_path / "spot.csv", write.spot("2024-01-01T00:00Z", [1.0, 2.0]))
    import_path(ctx, file)
    import_path(ctx, saved(tmp_path / "corrected.csv", write.spot("2024-01-01T00:00Z", [1.5])))
    import_path(ctx, file)
    assert prices(ctx)["value"].tolist() == [1.5, 2.0]


def test_halved_hours_are_quarantined_once_and_a_release_of_a_person_stands(
    ctx: RunContext, write: Writer, tmp_path: Path
) -> None:
    text = write.spot("2016-10-29T23:00Z", [50.0, 48.825, 48.825, 46.9], src="ree-apidatos/mirror")
    file = saved(tmp_path / "spot.csv", text)
    report = import_path(ctx, file)
    assert report.metrics["quarantined"] == 2
    assert prices(ctx)["value"].tolist() == [50.0, 46.9]
    verdicts = ctx.store.read_verdicts()
    assert set(verdicts["rule"]) == {"halved_hour"}
    released = verdicts.assign(
        verdict="released", by="an operator", at=verdicts["at"] + pd.Timedelta(seconds=60)
    )
    ctx.store.write_verdicts(released)
    import_path(ctx, file)
    assert prices(ctx)["value"].tolist() == [50.0, 48.825, 48.825, 46.9]


def test_forecasts_are_stored_as_forecasts(ctx: RunContext, tmp_path: Path) -> None:
    header = (
        "time_utc,generation,forecast solar day ahead,forecast wind onshore day ahead,"
        "total load forecast,"
        "total load actual,price day ahead,price actual"
    )
    report = import_path(
        ctx, saved(tmp_path / "e.csv", f"{header}\n2016-07-01T10:00:00Z,1,2,3,4,5,6,7\n")
    )
    assert (report.metrics["new"], report.metrics["forecasts_new"]) == (5, 3)
    known = ctx.store.read_forecasts("load_mw", places=["ES"], **WINDOW)
    assert known[["model", "p50"]].to_numpy().tolist() == [["entsoe", 4.0]]
    loads = ctx.store.read("load_mw", places=["ES"], **WINDOW)
    assert loads["value"].tolist() == [5.0]


def test_simulated_profile_takes_no_real_file(home: Path, write: Writer) -> None:
    file = saved(home / "spot.csv", write.spot("2024-01-01T00:00Z", [1.0]))
    demo = factory_settings.load("demo", env={"FACTORY_HOME": str(home)})
    with open_context(settings=demo) as ctx:
        with pytest.raises(OriginMismatch):
            import_path(ctx, file)
        with pytest.raises(ImportFileError, match="does not exist"):
            import_path(ctx, home / "spto.csv")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b\x08\x00cut", b"%PDF-1.4", gzip.compress(b"time_utc,spot_eur_mwh\n" * 99)[:30]],
    ids=["empty", "broken gzip", "other format", "cut gzip"],
)
def test_file_of_no_use_is_a_typed_error(ctx: RunContext, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(ImportFileError):
        import_path(ctx, tmp_path / "x.bin")
    assert ledger(ctx) == {}


def test_format_that_is_not_there_is_named(ctx: RunContext, write: Writer, tmp_path: Path) -> None:
    file = saved(tmp_path / "spot.csv", write.spot("2024-01-01T00:00Z", [1.0]))
    with pytest.raises(BadInput, match="spot_csv"):
        import_path(ctx, file, format="excel")


def test_path_that_is_not_there_is_a_typed_error(ctx: RunContext, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="does not exist"):
        import_path(ctx, tmp_path / "nothing.csv")
    with pytest.raises(ImportFileError):
        import_history(ctx, tmp_path)


def test_history_is_chosen_by_file_name(ctx: RunContext, write: Writer, tmp_path: Path) -> None:
    saved(tmp_path / "spot_es_hourly_2014.csv", write.spot("2023-12-31T23:00Z", [1.0] * 24))
    saved(tmp_path / "notes.csv", write.spot("2024-01-01T05:00Z", [9.0]))
    reports = import_history(ctx, tmp_path)
    assert [report.metrics["path"] for report in reports] == ["spot_es_hourly_2014.csv"]
    assert reports[0].status == "ok"
    assert "24 new" in reports[0].summary
