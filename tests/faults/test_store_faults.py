"""A store that is down, refuses, dies in mid-write or is shared by several processes."""

from __future__ import annotations

import inspect
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import epoch
from factory_lib.errors import (
    BadInput,
    ConfigError,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    WriteNotConfirmed,
)
from factory_lib.frames import tidy
from factory_lib.settings import InfluxSettings
from factory_lib.settings.secrets import Secret
from factory_lib.store import influx as influx_backend
from factory_lib.store import lineprotocol
from factory_lib.store.base import Store, WriteResult
from factory_lib.store.copying import backup, restore
from factory_lib.store.influx import InfluxBackend, create_bucket
from factory_lib.store.sqlite import SqliteBackend
from tests.support import influx_double as double
from tests.support.influx_double_points import Bucket

CATALOGUE = default_catalogue()

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = {"places": ["ES"], "start": FIRST, "end": datetime(2090, 1, 1, tzinfo=UTC)}


def prices(number: int, offset: float = 0.0) -> pd.DataFrame:
    starts = epoch(FIRST) + np.arange(number, dtype=np.int64) * 900
    values = np.arange(number) % 100 + offset
    origin = {
        "place": "ES",
        "source": "omie",
        "kind": "observed",
        "resolution_s": 900,
        "retrieved_at": FIRST,
    }
    return tidy("spot_eur_mwh", starts, values, **origin)


# What a process of its own does: open the file, say so, and write the prices run by
# run.
WRITER = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
import pandas as pd
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import epoch
from factory_lib.frames import tidy
from factory_lib.store.base import Store
from factory_lib.store.sqlite import SqliteBackend
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
{inspect.getsource(prices)}
store = Store(SqliteBackend(Path(sys.argv[1]), "real"), default_catalogue())
print("open", flush=True)
for run in range(int(sys.argv[2])):
    rows = prices(int(sys.argv[3]), run / 4)
    print(store.write(rows, run_id=sys.argv[4] + str(run)).written, flush=True)
store.close()
"""


def writer(file: Path, runs: int, rows: int, name: str = "w") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), str(runs), str(rows), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Store]:
    store = Store(SqliteBackend(tmp_path / "store.db", "real"), CATALOGUE)
    yield store
    store.close()


class TestEmbedded:
    def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "store.db").write_text("not a database " * 100)
        with pytest.raises(StoreDamaged, match="not a database") as caught:
            SqliteBackend(tmp_path / "store.db", "real")
        assert caught.value.exit_code == 74
        assert "factory restore" in str(caught.value)
        assert "SELECT" not in str(caught.value)

    def test_a_folder_that_cannot_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file where the folder should be")
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            SqliteBackend(tmp_path / "data" / "store.db", "real")

    def test_a_vanished_table_is_unavailable_not_empty(self, embedded: Store) -> None:
        assert isinstance(embedded.backend, SqliteBackend)
        embedded.backend.query("DROP TABLE value")
        embedded.backend.query(
            "INSERT INTO channel VALUES (1, 'spot_eur_mwh', 'ES', 'omie', 'observed', 900)"
        )
        for act in (embedded.read, embedded.slots):
            with pytest.raises(StoreUnavailable, match="no such table"):
                act("spot_eur_mwh", **WINDOW)  # type: ignore[operator]

    def test_a_write_that_fails_half_way_leaves_nothing(
        self, embedded: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "factory_lib.store.merge.absent", lambda added, stored: np.ones(1, dtype=bool)
        )
        with pytest.raises(WriteNotConfirmed, match="1 of 10 rows"):
            embedded.write(prices(10), run_id="a")
        monkeypatch.undo()
        assert embedded.inventory().empty
        assert embedded.write(prices(10), run_id="a") == WriteResult(new=10)

    def test_processes_that_write_at_once_lose_and_double_nothing(
        self, embedded: Store, tmp_path: Path
    ) -> None:
        processes = [writer(tmp_path / "store.db", 6, 500, name) for name in ("a", "b")]
        written = [
            [int(line) for line in process.communicate(timeout=60)[0].split()[1:]]
            for process in processes
        ]
        raw = embedded.read("spot_eur_mwh", raw=True, **WINDOW)
        assert [process.returncode for process in processes] == [0, 0]
        assert len(raw) == sum(map(sum, written))
        assert raw.groupby("start")["rev"].agg(["count", "max"]).eval("count == max").all()
        assert (
            embedded.read("spot_eur_mwh", **WINDOW)["value"].tolist()
            == prices(500, 5 / 4)["value"].tolist()
        )

    def test_processes_that_create_it_at_once_agree(self, tmp_path: Path) -> None:
        processes = [writer(tmp_path / "new.db", 1, 100, name) for name in ("a", "b")]
        written = [int(process.communicate(timeout=60)[0].split()[1]) for process in processes]
        assert sorted(written) == [0, 100]

    def test_a_killed_writer_leaves_whole_writes_and_the_next_completes(
        self, embedded: Store, tmp_path: Path
    ) -> None:
        process = writer(tmp_path / "store.db", 1000, 5000)
        assert process.stdout is not None
        done = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert done[0] == "open\n"
        assert isinstance(embedded.backend, SqliteBackend)
        embedded.backend.check()
        raw = embedded.read("spot_eur_mwh", raw=True, **WINDOW)
        assert raw.groupby("run_id").size().eq(5000).all()
        assert raw["run_id"].nunique() >= 3
        last = embedded.read("spot_eur_mwh", **WINDOW)["value"].iloc[0] * 4
        assert embedded.write(prices(5000, (last + 1) / 4), run_id="next") == WriteResult(
            revised=5000
        )


class TestBackup:
    def test_is_whole_while_others_write_and_restores_to_equal_checksums(
        self, embedded: Store, tmp_path: Path
    ) -> None:
        process = writer(tmp_path / "store.db", 8, 2000)
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        kept = backup(embedded, tmp_path / "backup" / "one.db")
        process.communicate(timeout=60)
        assert kept["rows"].tolist()[0] % 2000 == 0
        assert not embedded.inventory().equals(kept)
        pd.testing.assert_frame_equal(restore(tmp_path / "backup" / "one.db", embedded), kept)
        pd.testing.assert_frame_equal(embedded.inventory(), kept)
        assert [file.name for file in (tmp_path / "backup").iterdir()] == ["one.db"]

    def test_never_replaces_a_file(self, embedded: Store, tmp_path: Path) -> None:
        (tmp_path / "one.db").touch()
        with pytest.raises(BadInput, match="exists"):
            backup(embedded, tmp_path / "one.db")

    def test_a_damaged_one_is_not_restored(self, embedded: Store, tmp_path: Path) -> None:
        embedded.write(prices(5000), run_id="a")
        before = backup(embedded, tmp_path / "one.db")
        content = bytearray((tmp_path / "one.db").read_bytes())
        content[9000:60000] = b"\xff" * 51000
        (tmp_path / "one.db").write_bytes(content)
        with pytest.raises(StoreUnavailable):
            restore(tmp_path / "one.db", embedded)
        pd.testing.assert_frame_equal(embedded.inventory(), before)

    def test_a_missing_one_is_said_to_be_missing(self, embedded: Store, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="no backup"):
            restore(tmp_path / "none.db", embedded)

    def test_of_influx_is_a_sqlite_file_that_either_backend_takes(
        self, server: double.InfluxDouble, influx: Store, embedded: Store, tmp_path: Path
    ) -> None:
        influx.write(prices(200), run_id="a")
        kept = backup(influx, tmp_path / "one.db")
        pd.testing.assert_frame_equal(restore(tmp_path / "one.db", embedded), influx.inventory())
        server.buckets["other"] = type(server.buckets[double.BUCKET])()
        other = influx_store(server, tmp_path, bucket="other")
        pd.testing.assert_frame_equal(restore(tmp_path / "one.db", other), kept)
        other.close()


def influx_store(
    server: double.InfluxDouble,
    folder: Path,
    *,
    bucket: str = double.BUCKET,
    token: str = double.TOKEN,
    org: str = double.ORG,
) -> Store:
    where = InfluxSettings(server.url, org, bucket)
    return Store(InfluxBackend(where, Secret(token), "real", folder, CATALOGUE), CATALOGUE)


@pytest.fixture
def server() -> Iterator[double.InfluxDouble]:
    with double.serving() as running:
        yield running


@pytest.fixture
def influx(
    server: double.InfluxDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    monkeypatch.setattr(influx_backend, "RETRIES", influx_backend.RETRIES.new(backoff_factor=0))
    store = influx_store(server, tmp_path)
    yield store
    store.close()


class TestInflux:
    def test_a_closed_port_is_unavailable(self, tmp_path: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            where = InfluxSettings(f"http://127.0.0.1:{unused.getsockname()[1]}", "o", "b")
            with pytest.raises(StoreUnavailable, match="does not answer"):
                InfluxBackend(where, Secret("abc"), "real", tmp_path, CATALOGUE)

    @pytest.mark.parametrize("setting", ["token", "bucket", "org"])
    def test_a_refusal_names_the_setting_and_not_the_token(
        self, server: double.InfluxDouble, tmp_path: Path, setting: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"INFLUXDB_V2_{setting.upper()}") as caught:
            influx_store(server, tmp_path, **{setting: "wrong"})
        assert double.TOKEN not in str(caught.value)
        assert ("wrong" in str(caught.value)) == (setting != "token")

    def test_a_bucket_that_forgets_is_refused_by_the_first_write(
        self, server: double.InfluxDouble, tmp_path: Path
    ) -> None:
        server.buckets["short"] = Bucket({"everySeconds": 3600})
        with pytest.raises(ConfigError, match=r"INFLUXDB_V2_BUCKET.* outside retention policy"):
            influx_store(server, tmp_path, bucket="short")

    def test_a_page_that_is_not_influxdb_is_an_address_to_correct(
        self, server: double.InfluxDouble, tmp_path: Path
    ) -> None:
        where = InfluxSettings(f"{server.url}/elsewhere", double.ORG, double.BUCKET)
        with pytest.raises(ConfigError, match="INFLUXDB_V2_URL"):
            InfluxBackend(where, Secret(double.TOKEN), "real", tmp_path, CATALOGUE)

    @pytest.mark.parametrize("setting", ["token", "org"])
    def test_what_no_bucket_can_be_made_with_is_named(
        self, server: double.InfluxDouble, tmp_path: Path, setting: str
    ) -> None:
        names = {"token": double.TOKEN, "org": double.ORG} | {setting: "wrong"}
        where = InfluxSettings(server.url, names["org"], "new")
        with pytest.raises(ConfigError, match=f"INFLUXDB_V2_{setting.upper()}"):
            create_bucket(where, Secret(names["token"]))
        assert "new" not in server.buckets

    def test_a_made_bucket_forgets_nothing_and_has_long_shards(
        self, server: double.InfluxDouble, tmp_path: Path
    ) -> None:
        where = InfluxSettings(server.url, double.ORG, "new")
        made = [create_bucket(where, Secret(double.TOKEN)) for _ in range(2)]
        assert made == [True, False]
        assert server.buckets["new"].rule["everySeconds"] == 0
        assert server.buckets["new"].rule["shardGroupDurationSeconds"] == 52 * 7 * 86400

    def test_a_probe_writes_into_meta_only_and_leaves_the_stamps(
        self, server: double.InfluxDouble, tmp_path: Path
    ) -> None:
        where = InfluxSettings(server.url, double.ORG, double.BUCKET)
        token = Secret(double.TOKEN)
        with closing(InfluxBackend(where, token, "real", tmp_path, CATALOGUE, lazy=True)) as lazy:
            lazy.probe()
        influx_store(server, tmp_path).close()
        influx_store(server, tmp_path).close()
        assert {key[0] for key in server.buckets[double.BUCKET].series} == {"meta"}

    @pytest.mark.parametrize(
        "token", ["", "two words", "tab\tinside", "secret\nX-Header: 1"], ids=repr
    )
    def test_a_token_no_server_has_is_a_setting_to_correct(
        self, server: double.InfluxDouble, tmp_path: Path, token: str
    ) -> None:
        with pytest.raises(ConfigError, match="INFLUXDB_V2_TOKEN") as caught:
            influx_store(server, tmp_path, token=token)
        assert not token or token not in str(caught.value)

    @pytest.mark.parametrize(
        "where", [("", "o", "b"), ("http://x", "", "b"), ("http://x", "o", " ")], ids=repr
    )
    def test_an_address_that_is_not_set(self, tmp_path: Path, where: tuple[str, str, str]) -> None:
        with pytest.raises(ConfigError, match="is not set"):
            InfluxBackend(InfluxSettings(*where), Secret("abc"), "real", tmp_path, CATALOGUE)

    def test_a_write_cut_off_between_batches_is_completed_by_repeating_it(
        self,
        server: double.InfluxDouble,
        influx: Store,
        embedded: Store,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(lineprotocol, "BATCH_LINES", 100)
        server.failing, server.failing_after = 503, 2
        with pytest.raises(StoreUnavailable, match="503"):
            influx.write(prices(1000), run_id="a")
        server.failing = None
        assert influx.write(prices(1000), run_id="a") == WriteResult(new=800, unchanged=200)
        embedded.write(prices(1000), run_id="a")
        pd.testing.assert_frame_equal(influx.inventory(), embedded.inventory())

    def test_a_busy_server_is_asked_again(self, server: double.InfluxDouble, influx: Store) -> None:
        server.failing, server.failing_times = 503, 2
        assert influx.write(prices(10), run_id="a") == WriteResult(new=10)
        assert influx.write(prices(10), run_id="a") == WriteResult(unchanged=10)

    def test_one_that_stays_busy_is_unavailable_and_the_remedy_is_named(
        self, server: double.InfluxDouble, influx: Store
    ) -> None:
        server.failing = 500
        with pytest.raises(StoreUnavailable, match="factory store create"):
            influx.write(prices(10), run_id="a")

    def test_another_type_of_field_is_refused_aloud(self, influx: Store) -> None:
        assert isinstance(influx.backend, InfluxBackend)
        influx.backend._send(b"energy_prices,place=X load_mw=1i 0")
        load = prices(4).assign(series="load_mw", resolution_s=3600, source="ree")
        load = load[load["start"].dt.minute == 0]
        with pytest.raises(StoreError, match="field type conflict") as caught:
            influx.write(load, run_id="a")
        assert not isinstance(caught.value, StoreUnavailable)

    def test_a_server_that_loses_what_it_took_is_found_out(
        self, server: double.InfluxDouble, influx: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server.buckets[double.BUCKET], "write", lambda body, precision: None)
        with pytest.raises(WriteNotConfirmed, match="10 of 10 rows"):
            influx.write(prices(10), run_id="a")

    def test_an_answer_that_breaks_off_is_unavailable(self, influx: Store) -> None:
        assert isinstance(influx.backend, InfluxBackend)
        with pytest.raises(StoreUnavailable, match="broke off"):
            influx.backend._block(b",error,reference\r\n,out of memory,897", {})

    @pytest.mark.parametrize("place", ["", "line\nbreak", "trailing\\"], ids=repr)
    def test_a_place_that_no_tag_can_hold_is_bad_input(self, influx: Store, place: str) -> None:
        with pytest.raises(BadInput, match="cannot hold"):
            influx.write(prices(1).assign(place=place), run_id="a")
