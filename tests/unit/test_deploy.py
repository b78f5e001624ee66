"""What `deploy/` names exists: settings, commands, files; nothing in it is open to the world."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from factory_lib.cli.app import factory
from factory_lib.settings.secrets import Secrets

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "FACTORY_IMAGE" in service["image"]}
# Variables that Python, the images of others and their servers read.
FOREIGN = re.compile(
    r"TZ|PATH|HOME|PYTHON\w+|DOCKER_INFLUXDB_INIT_\w+|INFLUXD_\w+|POSTGRES_\w+|MLFLOW_BACKEND_\w+"
)


def instructions() -> list[tuple[str, str]]:
    """Return the Containerfile as instructions and their words."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word, rest) for word, rest in lines]


def test_the_containerfile_has_known_instructions_and_ends_as_user_1000() -> None:
    words = [word for word, _ in instructions()]
    known = "ARG FROM RUN COPY WORKDIR ENV USER VOLUME EXPOSE HEALTHCHECK ENTRYPOINT CMD"
    assert set(words) <= set(known.split())
    assert [rest for word, rest in instructions() if word == "USER"] == ["1000:1000"]
    assert "HEALTHCHECK" in words
    assert "--require-hashes -r requirements.lock" in CONTAINERFILE
    stages = [rest.split(" AS ")[1] for word, rest in instructions() if " AS " in rest]
    assert set(re.findall(r"--from=(\w+)", CONTAINERFILE)) == set(stages)


def test_secrets_data_and_tests_stay_out_of_the_image() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".env", ".git", "data", "runs", "tests"} <= set(left_out)


def given(text: str) -> set[str]:
    """Return the variables that a text takes from the environment."""
    return set(re.findall(r"\$\{(\w+)", text))


def test_every_variable_of_compose_is_in_the_example_or_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = set(re.findall(r"^(?:# )?(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    without_default = set(re.findall(r"\$\{(\w+)(?::\?[^}]*)?\}", text))
    assert without_default <= example
    assert example <= given(text)
    for name in without_default:
        assert f"${{{name}:?" in text, f"{name} may be empty"


def test_every_variable_that_is_set_is_read_by_somebody() -> None:
    source = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    named = dict(re.findall(r"(\w+)=(\S+)", dict(instructions())["ENV"]))
    for service in SERVICES.values():
        named |= service["environment"]
    for name in named:
        if FOREIGN.fullmatch(name):
            continue
        key = name.lower()
        read = name in source or key in Secrets.__annotations__
        assert read or name.startswith("INFLUXDB_V2_"), f"nobody reads {name}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_restarts_names_its_volumes_and_listens_on_this_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["container_name"] == f"factory-{name}"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        known = source in COMPOSE["volumes"] or (DEPLOY / source).exists()
        assert known, f"there is no {source}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_own_containers_have_a_read_only_root_and_no_rights(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]


def test_commands_and_their_options_exist() -> None:
    script = (DEPLOY / "scheduler.sh").read_text()
    (name,) = [word for word in OURS["scheduler"]["entrypoint"] if word.endswith(".sh")]
    assert (ROOT / name).read_text() == script
    calls = [line.split() for line in re.findall(r"^(?:exec )?factory (.*)", script, re.MULTILINE)]
    calls.append(OURS["page"]["command"])
    assert len(calls) == 3
    for words in calls:
        assert_exists(factory, words)


def test_the_options_of_mlflow_s_server_exist() -> None:
    program = [str(Path(sys.executable).with_name(OURS["mlflow"]["entrypoint"][0]))]
    server, *options = OURS["mlflow"]["command"]
    done = subprocess.run([*program, server, "--help"], capture_output=True, text=True, check=True)
    assert {word.split("=")[0] for word in options} <= set(re.findall(r"--[\w-]+", done.stdout))


def assert_exists(group: click.Command, words: list[str]) -> None:
    """Assert that the words name a command and options of its own."""
    context = click.Context(group)
    rest = words
    while isinstance(group, click.Group):
        _, command, rest = group.resolve_command(context, rest)
        assert command is not None
        group = command
    known = {option for parameter in group.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_commands_of_the_page_on_deployment_exist() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    calls = re.findall(r"(?:^|factory-scheduler )factory ([^#\n]*)", blocks, re.MULTILINE)
    assert len(calls) >= 5
    for call in calls:
        assert_exists(factory, call.split())
    for name in re.findall(r"factory-(\w+)", blocks):
        assert name in SERVICES or name == "live"
