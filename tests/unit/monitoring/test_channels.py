"""Messages by apprise and the heartbeat, to a listener on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event as Signal
from threading import Thread

import pytest
from msgspec import structs

from factory_lib.context import RunContext
from factory_lib.monitoring import alerts, channels, diagnostics
from factory_lib.monitoring.alerts import Event, Severity
from factory_lib.runs.records import RunRecord
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import marks, open_state

BROKEN = Event("job", "ml_training", Severity.WARNING, "failed: no rows")


class Listener(HTTPServer):
    """A server that remembers what it was sent, and answers as told."""

    status = 200
    most_parts = 0
    parts = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.messages: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        with suppress(OSError):  # the client may hang up
            while self.server.parts < self.server.most_parts:
                self.wfile.write(bytes(100_000))
                self.server.parts += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def reachable(settings: Settings, listener: Listener) -> Settings:
    urls = Secret(f"json://someone:planted-9917@{listener.address}/alerts")
    heartbeat = Secret(f"http://{listener.address}/planted-4431")
    return structs.replace(
        settings, secrets=replace(settings.secrets, alert_urls=urls, heartbeat_url=heartbeat)
    )


def test_an_alert_is_sent_once_with_the_link_to_its_report(
    ctx: RunContext, listener: Listener
) -> None:
    settings = reachable(ctx.settings, listener)
    now = ctx.clock.now()
    note = {"status": "failed", "folder": "2026-04-15/100000Z-ml_training"}
    marks.set_mark(ctx.state, marks.LAST_RUN, "ml_training", now, note)
    alerts.raise_event(ctx.state, BROKEN, now)
    for _ in range(2):
        alerts.deliver(ctx.state, settings, now)
    (message,) = listener.messages
    report = settings.paths.runs / "2026-04-15/100000Z-ml_training/report.html"
    assert message["message"] == (
        f"ALERT warning job/ml_training opened: failed: no rows\n  {report}"
    )
    linked = structs.replace(
        settings, alerts=structs.replace(settings.alerts, link="http://plant.example/runs/")
    )
    alerts.resolve(ctx.state, "job", "ml_training", "It ran again.", now)
    (sent,) = alerts.deliver(ctx.state, linked, now)
    assert sent["link"] == ("http://plant.example/runs/2026-04-15/100000Z-ml_training/report.html")


def test_what_cannot_be_sent_is_kept_shown_and_sent_later(
    ctx: RunContext, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = reachable(ctx.settings, listener)
    now = ctx.clock.now()
    listener.status = 503
    alerts.raise_event(ctx.state, BROKEN, now)
    alerts.deliver(ctx.state, settings, now)
    printed = capsys.readouterr().err
    assert "kept and sent later" in printed
    assert "planted" not in printed
    assert channels.unsent(ctx.state)[0] == 1
    checks = {check.name: check for check in diagnostics.examine(settings, notify=False)}
    assert checks["channels"].status == "warn"
    listener.status = 200
    alerts.deliver(ctx.state, settings, now + timedelta(minutes=5))
    assert len(listener.messages) == 2
    assert channels.unsent(ctx.state) == (0, "")


@pytest.mark.parametrize(("status", "pinged"), [("ok", 1), ("failed", 0)])
def test_the_heartbeat_follows_a_good_run_only(
    ctx: RunContext, listener: Listener, status: str, pinged: int
) -> None:
    settings = reachable(ctx.settings, listener)
    record = RunRecord("ingest", "live", "01_ingest", status, "", "", 1, {})  # type: ignore[arg-type]
    alerts.after_run(ctx.state, settings, record, ctx.clock.now())
    assert listener.paths.count("/planted-4431") == pinged


def test_a_heartbeat_without_an_answer_costs_nothing_and_shows_no_address(
    ctx: RunContext, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = reachable(ctx.settings, listener)
    listener.status = 500
    record = RunRecord("ingest", "live", "01_ingest", "ok", "", "", 1, {})
    alerts.after_run(ctx.state, settings, record, ctx.clock.now())
    printed = capsys.readouterr().err
    assert "No heartbeat" in printed
    assert "planted" not in printed


def test_without_apprise_the_remedy_is_named(
    ctx: RunContext, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    settings = reachable(ctx.settings, listener)
    problem = channels.send(ctx.state, settings, ["a line"], ctx.clock.now())
    assert "pip install" in problem


def test_the_body_of_a_heartbeats_answer_is_not_read(ctx: RunContext, listener: Listener) -> None:
    listener.most_parts = 500
    assert channels.ping(reachable(ctx.settings, listener)) == ""
    assert listener.parts < 200


def test_what_one_process_cannot_send_survives_the_success_of_another(
    ctx: RunContext, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = reachable(ctx.settings, listener)
    now = ctx.clock.now()
    sending = Signal()
    done = Signal()

    def notify(_: Secret, __: str, body: str) -> str:
        if "predictions" in body:
            return "an address did not take it."
        sending.set()
        done.wait(0.3)
        return ""

    def other_process() -> None:
        sending.wait(5)
        with open_state(settings) as state:
            event = replace(BROKEN, entity="ml_predictions")
            alerts.raise_event(state, event, now)
            alerts.deliver(state, settings, now)
        done.set()

    monkeypatch.setattr(channels, "_notify", notify)
    thread = Thread(target=other_process)
    thread.start()
    alerts.raise_event(ctx.state, BROKEN, now)
    alerts.deliver(ctx.state, settings, now)
    thread.join()
    assert channels.unsent(ctx.state)[0] == 1
