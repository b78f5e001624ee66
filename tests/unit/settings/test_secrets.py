"""Secrets show themselves only when asked."""

from __future__ import annotations

import html
import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import markupsafe
import pytest

from factory_lib import settings
from factory_lib.settings.secrets import Secret, Secrets, read_dotenv

KEY = "k3y-with-m4rk"


@pytest.mark.parametrize(
    "shown", [repr, str, "{}".format, "{0!r}".format], ids=["repr", "str", "format", "format-r"]
)
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


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        html.escape,
        partial(html.escape, quote=False),
        markupsafe.escape,
        quote_plus,
        lambda key: json.dumps(json.dumps(key)),
        lambda key: json.dumps(html.escape(key)),
        lambda key: html.escape(json.dumps(key)),
    ],
    ids=[
        "plain",
        "json",
        "page",
        "text of a page",
        "template",
        "query",
        "json in json",
        "page in json",
        "json on page",
    ],
)
def test_masking_knows_how_others_write_it(write: Callable[[str], str]) -> None:
    key = """k3y"&\\<m4rk>'é"""
    secrets = Secrets.from_environment({"ESIOS_TOKEN": key})
    masked = secrets.mask(f"<p>{write(key)}</p>")
    assert "***" in masked
    assert "k3y" not in masked
    assert "m4rk" not in masked


def test_dotenv_lines_are_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# comment\nexport AEMET_API_KEY='from file'\n\nnot a pair\nESIOS_TOKEN=\"x=y\"\n",
        encoding="utf-8",
    )
    assert read_dotenv(file) == {"AEMET_API_KEY": "from file", "ESIOS_TOKEN": "x=y"}
    assert read_dotenv(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbfESIOS_TOKEN=abc", "abc"),
        (b"ESIOS_TOKEN=abc  # until May", "abc"),
        (b"ESIOS_TOKEN='a #b' # until May", "a #b"),
        (b"ESIOS_TOKEN=a#b", "a#b"),
        (b"# contrase\xf1a\nESIOS_TOKEN=abc\r\n", "abc"),
        (b"export ESIOS_TOKEN = abc", "abc"),
    ],
    ids=["mark", "comment", "quoted", "hash", "windows", "export"],
)
def test_a_dotenv_file_is_read_as_it_is_meant(tmp_path: Path, content: bytes, value: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    assert read_dotenv(file)["ESIOS_TOKEN"] == value


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at http://ana:pw@influx:8086/api.", "at http://***@influx:8086/api."),
        ("postgresql://u:p%40x@db/f", "postgresql://***@db/f"),
        (r'"http:\/\/u:p@h\/"', r'"http:\/\/***@h\/"'),
        ("postgresql://h/d?password=p%40x&port=1", "postgresql://h/d?password=***&port=1"),
        ("postgresql://h/d?user=u&amp;password=p", "postgresql://h/d?user=u&amp;password=***"),
        ("write to ana@example.org, see http://h/a", "write to ana@example.org, see http://h/a"),
    ],
)
def test_the_user_of_any_address_is_masked_whatever_it_comes_from(text: str, masked: str) -> None:
    assert Secrets.from_environment({}).mask(text) == masked


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://ana:s3cret%2F9@host/db", "host=h password=s3cret/9 dbname=db"],
    ids=["address", "words"],
)
def test_the_password_of_an_address_is_masked_alone(dsn: str) -> None:
    secrets = Secrets.from_environment({"POSTGRES_DSN": dsn})
    masked = secrets.mask(f"{dsn} and s3cret/9 and s3cret%2F9 alone")
    assert "s3cret" not in masked
    assert masked.endswith("*** and *** alone")


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("postgresql://h/db?password=s3cret%2F9&sslmode=require", "s3cret/9"),
        ("host=h password='s3cret 9' dbname=db", "s3cret 9"),
        (r"host=h password = 's3\'cret\\9'", r"s3'cret\9"),
        ("password=s3cret&9 host=h", "s3cret&9"),
        ("host=h sslpassword=s3cret9", "s3cret9"),
    ],
    ids=["query", "quoted", "escaped", "ampersand", "key"],
)
def test_a_password_is_masked_however_libpq_is_told_it(dsn: str, password: str) -> None:
    secrets = Secrets.from_environment({"POSTGRES_DSN": dsn})
    assert secrets.mask(f"FATAL: {password}!") == "FATAL: ***!"
