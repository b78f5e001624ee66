"""The schedule as files: each format calls every scheduled job when ``[jobs]`` says."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.admin import cron
from factory_lib.cli import main
from factory_lib.runs import schedule
from factory_lib.settings import Settings
from tests.support.sites import SITES, with_sites

ANALYZE = shutil.which("systemd-analyze")
MOMENT = datetime(2026, 3, 5, 7, 30, tzinfo=UTC)


@pytest.fixture
def settings(home: Path) -> Settings:
    return factory_settings.load()


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        ("0 1 * * *", ["*-*-* 01:00:00"]),
        ("5-59/15 * * * *", ["*-*-* *:05,20,35,50:00"]),
        ("15 */12 * * *", ["*-*-* 00,12:15:00"]),
        ("0 2 * * 0", ["Sun *-*-* 02:00:00"]),
        ("0 2 * * 7", ["Sun *-*-* 02:00:00"]),
        ("0 2 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 02:00:00"]),
        ("0 2 1 */6 *", ["*-01,07-01 02:00:00"]),
        ("0 2 1 * 1", ["*-*-01 02:00:00", "Mon *-*-* 02:00:00"]),
        ("0 2 1 * 0-6", ["*-*-01 02:00:00", "*-*-* 02:00:00"]),
        ("* * * * *", ["*-*-* *:*:00"]),
    ],
)
def test_five_fields_as_a_timer(cadence: str, expected: list[str]) -> None:
    assert cron.calendars(cadence) == expected


@pytest.mark.parametrize("fmt", ["systemd", "quadlet"])
def test_each_scheduled_job_has_a_timer_of_the_template(settings: Settings, fmt: str) -> None:
    made = cron.files(settings, fmt)  # type: ignore[arg-type]
    timers = {name for name in made if name.endswith(".timer")}
    assert timers == {f"factory-live-{name}.timer" for name in cron.scheduled(settings)}
    template = "factory-live@.container" if fmt == "quadlet" else "factory-live@.service"
    assert "FACTORY_CALLER=cron" in made[template]
    for name, spec in cron.scheduled(settings).items():
        text = made[f"factory-live-{name}.timer"]
        assert f"Unit=factory-live@{name}.service" in text
        assert all(f"OnCalendar={each}\n" in text for each in cron.calendars(spec.cron))


def test_containers_have_a_read_only_root_and_listen_on_this_machine(settings: Settings) -> None:
    made = cron.files(settings, "quadlet")
    containers = [text for name, text in made.items() if name.endswith(".container")]
    assert len(containers) == 2
    for text in containers:
        assert "ReadOnly=true\n" in text
        assert f"Volume={settings.paths.root}/config:/app/config:ro" in text
        assert text.count("PublishPort=") == text.count("PublishPort=127.0.0.1:")


@pytest.mark.parametrize("fmt", cron.UNIT_FORMATS)
@pytest.mark.parametrize("has_sites", [True, False], ids=["sites", "one site"])
def test_every_format_runs_the_jobs_of_every_site(
    home: Path, fmt: cron.UnitFormat, has_sites: bool
) -> None:
    made = cron.files(factory_settings.load(env=with_sites(home, SITES * has_sites)), fmt)
    jobs = [text for name, text in made.items() if name == "crontab" or "@" in name]
    assert ["--site all" in text for text in jobs] == [has_sites]


def test_names_with_spaces_and_signs_are_quoted() -> None:
    assert cron._quoted(["make", "a b", '50%"', "JOB=%i"]) == 'make "a b" "50%%\\"" JOB=%i'


def test_files_are_written_where_asked(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    assert main(["cron", "show", "--format", "systemd", "--out", str(folder)]) == 0
    assert {file.name for file in folder.iterdir()} == set(
        cron.files(factory_settings.load(), "systemd")
    )
    assert main(["cron", "show", "--out", str(tmp_path / "none")]) == 2


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
class TestSystemd:
    def test_takes_the_units(self, settings: Settings, tmp_path: Path) -> None:
        names = cron.write_files(settings, "systemd", tmp_path)
        files = [str(tmp_path / name) for name in names if name.endswith(".timer")]
        done = subprocess.run(
            [str(ANALYZE), "verify", "--man=no", *files], capture_output=True, text=True
        )
        assert "factory-" not in done.stderr, done.stderr

    def test_means_the_times_that_health_expects(self, settings: Settings) -> None:
        for spec in cron.scheduled(settings).values():
            (calendar,) = cron.calendars(spec.cron)
            done = subprocess.run(
                [str(ANALYZE), "calendar", f"--base-time={MOMENT:%Y-%m-%d %H:%M:%S} UTC", calendar],
                capture_output=True,
                text=True,
                check=True,
            )
            (line,) = [x for x in done.stdout.splitlines() if "Next elapse:" in x]
            words = line.split("Next elapse:")[1].split()
            elapse = datetime.fromisoformat(f"{words[1]} {words[2]}").astimezone()
            assert elapse > MOMENT
            assert schedule.latest(spec.cron, elapse) == elapse
            assert schedule.latest(spec.cron, elapse - timedelta(seconds=1)) <= MOMENT
