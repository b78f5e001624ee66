"""Chromium, driven by its own DevTools protocol: open pages, move the pointer, read errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
ERRORS = ("Runtime.exceptionThrown", "Log.entryAdded")


class Browser:
    """One tab. ``errors`` collects what pages threw, logged as an error or could not load."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        flags += ["--remote-allow-origins=*", "--no-first-run", f"--user-data-dir={profile}"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        self.process = subprocess.Popen(
            [PROGRAM, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.errors: list[str] = []
        self.number = 0
        self.socket = websocket.create_connection(self._address(profile), timeout=60)
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def _address(self, profile: Path) -> str:
        file = profile / "DevToolsActivePort"
        for _ in range(300):
            if file.is_file() and len(file.read_text(encoding="utf-8").splitlines()) == 2:
                break
            time.sleep(0.1)
        port = file.read_text(encoding="utf-8").splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tabs = json.load(answer)
        return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))

    def close(self) -> None:
        """End the program."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self.number += 1
        content = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(content))
        while True:
            message = json.loads(self.socket.recv())
            self._note(message)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return dict(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        entry = message.get("params", {}).get("entry", {"level": "error"})
        if message.get("method") in ERRORS and entry["level"] == "error":
            self.errors.append(json.dumps(message["params"]))

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Make the window a phone's or a desk's, light or dark."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Open a page and wait until it is complete."""
        self.send("Page.navigate", url=address)
        for _ in range(300):
            if self.run("document.readyState == 'complete' && location.href") == address:
                return
            time.sleep(0.05)
        raise TimeoutError(address)

    def run(self, script: str) -> Any:
        """Return what a script gives."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def move(self, x: float, y: float, kind: str = "mouseMoved", **more: Any) -> None:
        """Move, press or release the pointer."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)
