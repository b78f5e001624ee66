"""Take the pictures of docs/images from the demo, with Chromium.

``python -m tools.pictures`` after ``make demo``.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.service import server
from factory_lib import settings as factory_settings
from tests.support.browser import Browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 1320
HEIGHTS = {"today": 1000, "plan": 1660, "report": 1660}


def main() -> None:
    """Write one picture of each page, in 128 colours."""
    runs = factory_settings.load("demo").paths.runs
    training = max(runs.glob("*/*-ml_training")).relative_to(runs)
    addresses = {"today": "/", "plan": "/plan", "report": f"/runs/{training.as_posix()}"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        try:
            with server(runs.parents[1]) as (port, _):
                for name, address in addresses.items():
                    browser.resize(WIDTH)
                    browser.open(f"http://127.0.0.1:{port}{address}")
                    save(browser, name)
        finally:
            browser.close()


def save(browser: Browser, name: str) -> None:
    """Write the top of the open page."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHTS[name], "scale": 1}
    shot = browser.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(128).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
