"""Secrets show themselves only when asked."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from factory_lib import settings
from factory_lib.settings.secrets import Secret, Secrets, read_dotenv

KEY = "k3y-with-m4rk"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{0!r}".format], ids=["repr", "str", "format", "format-r"])
def test_a_secret_is_never_shown(shown: object) -> None:
    assert callable(shown)
    assert KEY not in shown(Secret(KEY))


def test_a_secret_reveals_itself_when_asked_and_is_stripped() -> None:
    assert Secret(f" {KEY}\n").reveal() == KEY
    assert not Secret("  ")


def test_a_secret_is_not_serialised() -> None:
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret(KEY))


def test_the_whole_settings_do_not_show_it() -> None:
    loaded = settings.load("live", env={"AEMET_API_KEY": KEY})
    assert loaded.secrets.aemet_api_key.reveal() == KEY
    assert KEY not in repr(loaded)


def test_masking_removes_it_from_any_text() -> None:
    secrets = Secrets.from_environment({"ESIOS_TOKEN": KEY})
    assert secrets.mask(f"GET /x?token={KEY} failed") == "GET /x?token=*** failed"


def test_dotenv_lines_are_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# comment\nexport AEMET_API_KEY='from file'\n\nnot a pair\nESIOS_TOKEN=\"x=y\"\n", encoding="utf-8"
    )
    assert read_dotenv(file) == {"AEMET_API_KEY": "from file", "ESIOS_TOKEN": "x=y"}
    assert read_dotenv(tmp_path / "absent") == {}
