"""A client that calls an ASGI application without a network: any path, method and header."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as what its JSON holds."""
        return json.loads(self.content)


class Client:
    """Requests to one application, one after the other, on one event loop."""

    def __init__(self, app: Any, host: str = "127.0.0.1:8080") -> None:
        self.app = app
        self.host = host
        self.runner = asyncio.Runner()

    def close(self) -> None:
        """End the loop."""
        self.runner.close()

    def get(self, target: str, **options: Any) -> Answer:
        """Send a GET."""
        return self.request("GET", target, **options)

    def head(self, target: str) -> Answer:
        """Send a HEAD."""
        return self.request("HEAD", target)

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Answer:
        """Send a request; an exception in the application is raised here."""
        path, _, query = target.partition("?")
        sent = {"host": self.host, **({"content-length": str(len(content))} if content else {})}
        sent |= headers or {}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8080),
            "app": self.app,
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        self.runner.run(self.app(scope, receive, send))
        start = messages[0]
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        body = b"".join(message.get("body", b"") for message in messages[1:])
        return Answer(start["status"], answered, b"" if method == "HEAD" else body)
