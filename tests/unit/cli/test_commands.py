"""Commands as typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from factory_lib.cli import admin, jobs, main
from factory_lib.context import RunContext, open_context
from factory_lib.planning import recommendation
from tests.unit.conftest import SLOTS, Fill

WINDOW = ["--since", "2026-04-13", "--until", "2026-04-13T00:00:00Z"]


def rows_of(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert main([*words, "--json"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_alerts_are_tested_listed_acknowledged_and_muted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = rows_of(capsys, "alerts", "test")
    assert line["entities"] == {"alerts": "This is a test."}
    assert rows_of(capsys, "alerts", "list") == []
    assert [row["status"] for row in rows_of(capsys, "alerts", "list", "--all")] == ["resolved"]
    assert rows_of(capsys, "alerts", "mute", "test/*", "--hours", "1")[0]["muted"] == 1
    assert main(["alerts", "ack", "test/*"]) == 2
    assert "No alert matches" in capsys.readouterr().err
    assert main(["alerts", "ack"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--pin", "standard", "melting", "08:00"],
        ["plan", "--day", "someday"],
        ["plan", "override", "add", "pin", "standard", "melting", "08:00"],
        ["plan", "override", "remove", "3"],
    ],
)
def test_a_mistyped_override_makes_no_file(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(home.rglob("*"))
    assert main(words) == 2
    assert sorted(home.rglob("*")) == before


def test_values_are_rejected_and_released(
    ctx: RunContext, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    options = [*WINDOW, "--reason", "frozen", "--by", "Ana"]
    assert rows_of(capsys, "quarantine", "reject", "spot_eur_mwh", *options)[0]["values"] == 8
    listed = rows_of(capsys, "quarantine", "list")
    assert {(row["reason"], row["by"]) for row in listed} == {("frozen", "Ana")}
    assert rows_of(capsys, "quarantine", "release", "spot_eur_mwh", *options)[0]["values"] == 8
    assert rows_of(capsys, "quarantine", "list") == []


def test_a_person_reads_local_minutes_and_a_program_every_field(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = ["plan", "override", "add", "out", "conche", "2099-07-01T12:00", "--by", "Ana"]
    assert main(added) == 0
    capsys.readouterr()
    assert main(["plan", "override", "list"]) == 0
    line = capsys.readouterr().out
    assert "number 1  override conche out of order until Wed 1 Jul 12:00  author Ana" in line
    assert re.search(r"created_at \d{4}-\d\d-\d\d \d\d:\d\d CES?T$", line.strip())
    (row,) = rows_of(capsys, "plan", "override", "list")
    assert str(row["end"]).startswith("2099-07-01 10:00:00")
    assert row["kind"] == "outage"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        pytest.param(["quarantine", "reject"], "argument 'SERIES'", id="no series"),
        pytest.param(
            ["quarantine", "reject", "spot_eur_mwh", *WINDOW], "option '--reason'", id="no reason"
        ),
        pytest.param(
            ["quarantine", "correct", "spot_eur_mwh", *WINDOW, "--reason", "x"],
            "option '--value'",
            id="no value",
        ),
    ],
)
def test_the_error_names_the_missing_option(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    assert main(words) == 2
    assert f"Missing {what}." in capsys.readouterr().err


def test_backup_and_restore_say_what_they_did(
    ctx: RunContext, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    (taken,) = rows_of(capsys, "backup")
    fill(value=70.0)
    assert main(["restore"]) == 2, "no person can be asked"
    assert "--yes" in capsys.readouterr().err
    (back,) = rows_of(capsys, "restore", "--yes")
    assert (back["restored"], back["rows"]) == (taken["backup"], SLOTS)
    (listed,) = rows_of(capsys, "backup", "list")
    assert listed == taken
    (verified,) = rows_of(capsys, "backup", "verify")
    assert (verified["verified"], verified["rows"]) == (taken["backup"], SLOTS)


def test_a_job_is_paused_and_resumed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "pause", "ml_training", "--by", "Ana"]) == 0
    capsys.readouterr()
    jobs = {str(row["job"]): row for row in rows_of(capsys, "jobs")}
    assert "by Ana" in str(jobs["ml_training"]["pause"])
    assert not jobs["ml_training"]["due"]
    assert main(["run", "ml_training"]) == 0
    assert "not due. paused by Ana until it is resumed" in capsys.readouterr().out
    assert main(["jobs", "resume", "ml_training"]) == 0
    assert main(["jobs", "resume", "ml_training"]) == 2


def test_an_export_carries_units_and_provenance(
    ctx: RunContext, fill: Fill, tmp_path: Path
) -> None:
    fill()
    file = tmp_path / "out.csv"
    assert main(["export", "spot_eur_mwh", *WINDOW, "--out", str(file)]) == 0
    head, first, *rest = file.read_text(encoding="utf-8").splitlines()
    row = dict(zip(head.split(","), first.split(","), strict=True))
    assert (row["unit"], row["source"], row["kind"], row["origin"], len(rest)) == (
        "EUR/MWh",
        "ree",
        "observed",
        "real",
        7,
    )


def test_health_prints_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "warn"  # nothing has run yet, and cron calls nothing
    assert {check["name"] for check in result["checks"]} >= {
        "store",
        "mlflow",
        "disk",
        "aemet_api_key",
    }


def test_a_what_if_is_a_rule_and_unknown_without_a_price_history(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "--what-if", "price=80", "temperature=24", "humidity=55"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert output.startswith(
        "rule, not a prediction: price 80 EUR/MWh, temperature 24 °C, humidity 55 %"
    )
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["temperature_comfort_index"] == 70.0
    assert found["energy_cost_index"] is None
    assert found["outdoor_index_class"] == "unknown"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(["price=80"], id="too few"),
        pytest.param(["price=80", "temperature=24", "wind=3"], id="unknown name"),
        pytest.param(["price=80", "temperature=warm", "humidity=55"], id="no number"),
    ],
)
def test_a_what_if_that_cannot_be_read_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    assert main(["predict", "--what-if", *given]) == 2
    assert "--what-if needs" in capsys.readouterr().err


def test_a_prediction_has_the_advice_of_its_own_run_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(jobs, "run_jobs", lambda *_, **given: options.update(given) or 0)
    assert main(["predict", "--json"]) == 0
    of_run = options["details"]
    assert of_run(SimpleNamespace(as_of="2026-03-02T10:00:00Z")) == {"advice": None}
    with open_context("live") as ctx:
        recommendation.save_advice(ctx, pd.DataFrame(columns=recommendation.ADVICE))
        issued_at = f"{ctx.as_of:%Y-%m-%dT%H:%M:%SZ}"
    advice = of_run(SimpleNamespace(as_of=issued_at))["advice"]
    assert advice == {"issued_at": issued_at, "simulated": False, "hours": []}
    assert of_run(SimpleNamespace(as_of="2026-03-02T10:00:00Z")) == {"advice": None}


def test_a_demo_too_short_to_train_on_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--days", "60"]) == 2
    assert "x>=120" in capsys.readouterr().err
    assert not (home / "data").exists()


@pytest.mark.parametrize("humidity", ["500", "-1", "nan"])
def test_a_what_if_that_cannot_be_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], humidity: str
) -> None:
    words = ["predict", "--what-if", "price=80", "temperature=24", f"humidity={humidity}"]
    assert main(words) == 2
    assert f"humidity={humidity} cannot be: it is 0 to 100 %." in capsys.readouterr().err


def test_no_model_can_be_listed_or_rolled_back_where_none_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows_of(capsys, "models") == []
    assert main(["models", "rollback"]) == 2
    assert main(["models", "rollback", "energy_optimization"]) == 1
    assert "has no champion" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["gaps", "--since", "2190-01-01"], id="gaps of what is to come"),
        pytest.param(["gaps", "--as-of", "9999-12-31"], id="a year beyond all years"),
        pytest.param(
            ["backfill", "--since", "2025-11-01", "--until", "2025-10-01"], id="backfill backwards"
        ),
        pytest.param(["gaps", "--since", "2099-01-01"], id="gaps to come"),
        pytest.param(
            [
                "export",
                "spot_eur_mwh",
                "--since",
                "2025-11-02",
                "--until",
                "2025-11-01",
                "--out",
                "x.csv",
            ],
            id="export backwards",
        ),
        pytest.param(
            [
                "export",
                "spot_eur_mwh",
                "--since",
                "2025-11-01",
                "--until",
                "2025-11-02",
                "--out",
                "/proc/no/x.csv",
            ],
            id="export into nowhere",
        ),
        pytest.param(["alerts", "mute", "gap/*", "--hours", "nan"], id="silence of no length"),
        pytest.param(["alerts", "mute", "gap/*", "--hours", "-3"], id="silence backwards"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_pages_of_mlflow_have_no_password_among_their_words_and_a_port_of_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of a process are in the list of processes, and the live page has port 8080."""
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(admin, "_run_group", lambda *given: started.append(given))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ana:planted-31@127.0.0.1/mlflow")
    main(["mlflow"])
    ((words, environment),) = started
    assert "planted" not in " ".join(words)
    assert environment["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql://ana:planted-31@")
    ports = [
        option.default
        for command in (admin.mlflow_pages, admin.serve)
        for option in command.params
        if option.name == "port"
    ]
    assert len(set(ports)) == 2
