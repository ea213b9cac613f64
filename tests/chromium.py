"""Chromium without a window, driven as a person drives it: real clicks and keys, through its DevTools protocol.

The protocol goes over a pipe, so that neither a driver of its own nor a client library must be installed, and no port is
opened.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LAUNCH = "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"
"""Chromium reads commands from file descriptor 3 and answers on 4."""
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-dev-shm-usage", "--force-device-scale-factor=1", "--window-size=1300,900",
)  # fmt: skip
CODES = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Tab": 9, "Home": 36}
TIMEOUT_S = 30


class Page:
    """A page in a browser of its own, 1300 x 900 pixels."""

    def __init__(self, folder: Path) -> None:
        """``folder`` takes the profile, and the files that the page saves."""
        assert CHROMIUM is not None
        self.downloads = folder / "downloads"
        ours, theirs = os.pipe(), os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1])]
        command = [
            sys.executable,
            "-c",
            LAUNCH,
            *map(str, high),
            CHROMIUM,
            *OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
        ]
        self._process = subprocess.Popen(command, pass_fds=high, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for end in (*high, ours[0], theirs[1]):
            os.close(end)
        self._out, self._in = ours[1], theirs[0]
        self._rest, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **given: Any) -> Any:
        """One command and its answer; what happens meanwhile goes to ``events``."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + TIMEOUT_S
        while True:
            found = self._read(until)
            if found.get("id") == self._count:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, until - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(text)
        return found

    def open(self, file: Path) -> None:
        """A file from disk; returns when it is loaded and has nothing more to do at once."""
        self.call("Page.navigate", url=file.as_uri())
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        until = time.monotonic() + TIMEOUT_S
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, which is brought into view."""
        script = f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: "nearest"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        x, y = self.evaluate(script)
        return x, y

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        self.drag(self.place(selector), self.place(selector))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place and release at another."""
        for kind, (x, y) in (
            ("mouseMoved", start),
            ("mousePressed", start),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def keys(self, *names: str) -> None:
        """Press keys one after the other; a name of one letter is that letter."""
        for name in names:
            text = {"text": name} if len(name) == 1 else {}
            code = CODES.get(name, ord(name[0].upper()))
            self.call("Input.dispatchKeyEvent", type="keyDown", key=name, windowsVirtualKeyCode=code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def saved(self, name: str) -> Path:
        """A file that the page saved, once it is whole."""
        path, until = self.downloads / name, time.monotonic() + TIMEOUT_S
        while not path.exists() or list(self.downloads.glob("*.crdownload")):
            assert time.monotonic() < until, f"{name} was not saved"
            time.sleep(0.02)
        return path

    def screenshot(self, file: Path) -> None:
        """What is seen, as PNG."""
        file.write_bytes(b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the browser's log and policy objected to."""
        self.evaluate("0")  # what came before it is in `events` now
        found = [event for event in self.events if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        return [json.dumps(event["params"]) for event in found]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, beside what it holds itself."""
        self.evaluate("0")
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]
