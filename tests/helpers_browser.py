"""A headless Chromium driven through its debugging protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from websockets.sync.client import connect

CHROMIUM = ["chromium", "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
START_S = 60.0
ANSWER_S = 60.0
PAUSE_S = 1.5  # every screenshot takes its time from a page that has no graphics card


class Browser:
    """One page. requests: every address that it and its workers asked for, WebSockets too."""

    def __init__(self, size: tuple[int, int] = (1280, 800)) -> None:
        self.requests: list[str] = []
        self._count = 0
        self._folder = Path(tempfile.mkdtemp(prefix="spark3r-browser-"))
        options = ["--remote-debugging-port=0", f"--user-data-dir={self._folder}", "about:blank"]
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen([*CHROMIUM, *QUIET, *options], stderr=self._log)
        try:
            page = self._find_page()
            self._socket = connect(page, max_size=None, ping_interval=None)
            for domain in ("Network", "Page", "Runtime"):
                self.call(f"{domain}.enable")
            self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
            self.call(
                "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
            )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        loaded = "location.protocol.startsWith('http') && document.readyState === 'complete'"
        assert self.wait(lambda: self.evaluate(loaded) is True, ANSWER_S), url

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        number = self._send(method, parameters)
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_S))
            self._take_note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def evaluate(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        return str(self.evaluate("document.body.innerText"))

    def screenshot(self, path: Path | None = None) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(png)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def click(self, label: str) -> None:
        """The button or the box of that name."""
        script = (
            "(() => { const name = %s; const leaf = [...document.querySelectorAll('*')].find(e => !e.children.length &&"
            " e.textContent.trim() === name); let box = leaf; while (box && !box.querySelector('input,button') &&"
            " box.tagName !== 'BUTTON') box = box.parentElement; const target = box.tagName === 'BUTTON' ? box :"
            " box.querySelector('input,button'); target.click(); return target.tagName })()"
        )
        assert self.evaluate(script % json.dumps(label)) in ("INPUT", "BUTTON")

    def wait(self, what: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if what():
                return True
            time.sleep(PAUSE_S)
        return False

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_page(self) -> str:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            said = re.search(rb"ws://(127\.0\.0\.1:\d+)/", (self._folder / "log").read_bytes())
            if said:
                with urllib.request.urlopen(f"http://{said[1].decode()}/json") as answer:
                    return str(
                        next(page for page in json.load(answer) if page["type"] == "page")["webSocketDebuggerUrl"]
                    )
            time.sleep(0.1)
        raise AssertionError(f"Chromium did not start: {(self._folder / 'log').read_text(errors='replace')[-500:]}")

    def _send(self, method: str, parameters: dict[str, Any], **session: str) -> int:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters, **session}))
        return self._count

    def _take_note(self, answer: dict[str, Any]) -> None:
        if answer.get("method") == "Target.attachedToTarget":  # a worker of the page: it waits until it is listened to
            session = answer["params"]["sessionId"]
            self._send("Network.enable", {}, sessionId=session)
            self._send("Runtime.runIfWaitingForDebugger", {}, sessionId=session)
        elif answer.get("method") == "Network.requestWillBeSent":
            self.requests.append(answer["params"]["request"]["url"])
        elif answer.get("method") == "Network.webSocketCreated":
            self.requests.append(answer["params"]["url"])


def leaves_the_machine(url: str) -> bool:
    """Whether fetching an address would; `data:` holds what it is, `blob:` was made by the page."""
    return re.match(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:http://127\.0\.0\.1[:/]|about:", url) is None
