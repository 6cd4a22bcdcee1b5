"""A headless Chromium, spoken to over a pipe: what a page says, asks for, and looks like."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Browser", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Return where a Chromium is, if there is one."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium, by the DevTools protocol.

    Attributes
    ----------
    errors : list of str
        What the page's console had to complain about, and exceptions.
    requests : list of str
        Addresses that were asked for, but for ``file:``, ``data:`` and ``blob:``.
    """

    def __init__(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._buffer = b""
        self._folder = tempfile.TemporaryDirectory(
            prefix="qcore-browser-", ignore_cleanup_errors=True
        )
        chromium = find_chromium()
        assert chromium is not None, "there is no Chromium"
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4.
        command = (
            f"exec {chromium} 3<&{to_browser} 4>&{from_browser} --headless=new --no-sandbox "
            f"--disable-gpu --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe "
            f"--user-data-dir={self._folder.name} about:blank"
        )
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command], pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def open(self, path: Path, seconds: float = 60) -> None:
        """Open a page and wait until its scripts are done: they set ``data-ready``."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + seconds
        while self.evaluate("document.documentElement?.dataset.ready ?? ''") != "yes":
            assert time.monotonic() < end, f"the page is not ready: {self.errors}"
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression gives."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path: Path, most: int | None = None) -> None:
        """Write a picture of the whole page, or of its first `most` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = size["height"] if most is None else min(most, size["height"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._in, 1 << 16)
            assert piece, "the browser is gone"
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"].get("exception", params)))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str([arg.get("value") for arg in params["args"]]))
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.requests.append(url)
