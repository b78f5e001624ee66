"""A double of InfluxDB 2.x at its HTTP interface.

What the real client sends is parsed, refused or answered in kind.

``python -m tests.support.influx_double --port 8086`` serves one organisation with one
token, in memory. It speaks line protocol in, annotated CSV out, and the few Flux stages
that the store and the client's frame calls use; what it does not know it refuses, so
that a query that passes here was understood. It is no measure of a real server's speed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.influx_double_flux import FluxError, run
from tests.support.influx_double_points import Bucket, LineError

ORG, TOKEN, BUCKET = "factory", "a-token-of-the-double", "factory"
ORG_ID = "0000000000000001"


class InfluxDouble(ThreadingHTTPServer):
    """The server; ``failing`` makes writes answer that status.

    ``failing_times`` of them, after ``failing_after``.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.buckets = {BUCKET: Bucket()}
        self.guard = threading.Lock()
        self.failing: int | None = None
        self.failing_after = 0
        self.failing_times = 1_000_000

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(port: int = 0) -> Iterator[InfluxDouble]:
    """Serve in a thread of this process for the length of a block."""
    server = InfluxDouble(port)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    server: InfluxDouble
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # headers and body leave in two writes: without it each answer waits 40 ms
    )

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Any) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        address = urlsplit(self.path)
        try:
            if (
                address.path not in ("/ping", "/health")
                and self.headers.get("Authorization") != f"Token {TOKEN}"
            ):
                raise _Refused(401, "unauthorized", "unauthorized access")
            with self.server.guard:
                answer = act(
                    address.path, {k: v[0] for k, v in parse_qs(address.query).items()}, body
                )
        except _Refused as refused:
            answer = (refused.status, {"code": refused.code, "message": str(refused)})
        self._send(*answer)

    def _send(self, status: int, content: bytes | dict[str, Any] | None = None) -> None:
        is_json = isinstance(content, dict)
        data = json.dumps(content).encode() if isinstance(content, dict) else content or b""
        self.send_response(status)
        self.send_header("X-Influxdb-Version", "v2.7.0-double")
        if status != 204:
            self.send_header(
                "Content-Type", "application/json" if is_json else "text/csv; charset=utf-8"
            )
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _get(
        self, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any] | None]:
        if path == "/ping":
            return 204, None
        if path == "/health":
            return 200, {
                "name": "influxdb",
                "status": "pass",
                "message": "ready for queries and writes",
            }
        if path == "/api/v2/orgs":
            known = query.get("org", ORG) == ORG
            return 200, {"orgs": [{"id": ORG_ID, "name": ORG}] if known else []}
        if path == "/api/v2/buckets":
            return 200, {
                "buckets": [
                    _described(name, bucket)
                    for name, bucket in self.server.buckets.items()
                    if query.get("name", name) == name
                ]
            }
        raise _Refused(404, "not found", "path not found")

    def _post(
        self, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, bytes | dict[str, Any] | None]:
        if query.get("org", ORG) != ORG:
            status = 400 if path == "/api/v2/query" else 404
            raise _Refused(status, "not found", f'organization name "{query["org"]}" not found')
        if path == "/api/v2/write":
            self._write(self._bucket(query.get("bucket", "")), query, body)
            return 204, None
        if path == "/api/v2/query":
            asked = json.loads(body)
            try:
                return 200, run(asked["query"], self._bucket, asked.get("dialect") or {})
            except FluxError as error:
                raise _Refused(400, "invalid", f"compilation failed: {error}") from None
        if path == "/api/v2/buckets":
            asked = json.loads(body)
            bucket = Bucket(*asked["retentionRules"])
            self.server.buckets[asked["name"]] = bucket
            return 201, _described(asked["name"], bucket)
        raise _Refused(404, "not found", "path not found")

    def _delete(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, None]:
        self.server.buckets.pop(path.rsplit("/", 1)[-1], None)
        return 204, None

    def _bucket(self, name: str) -> Bucket:
        if name not in self.server.buckets:
            raise _Refused(404, "not found", f'bucket "{name}" not found')
        return self.server.buckets[name]

    def _write(self, bucket: Bucket, query: dict[str, str], body: bytes) -> None:
        if (
            self.server.failing is not None
            and self.server.failing_after <= 0 < self.server.failing_times
        ):
            self.server.failing_times -= 1
            raise _Refused(self.server.failing, "unavailable", "the double was set to fail")
        self.server.failing_after -= 1
        try:
            conflict = bucket.write(body, query.get("precision", "ns"))
        except LineError as error:
            raise _Refused(400, "invalid", f"unable to parse {error}") from None
        if conflict and "retention" in conflict:
            raise _Refused(422, "unprocessable entity", conflict)
        if conflict:
            raise _Refused(
                422,
                "unprocessable entity",
                f"failure writing points to database: partial write: {conflict}",
            )

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _described(name: str, bucket: Bucket) -> dict[str, Any]:
    rules = [bucket.rule]
    return {"id": name, "orgID": ORG_ID, "name": name, "type": "user", "retentionRules": rules}


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8086)
    server = InfluxDouble(parser.parse_args().port)
    print(json.dumps({"url": server.url, "org": ORG, "bucket": BUCKET, "token": TOKEN}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
