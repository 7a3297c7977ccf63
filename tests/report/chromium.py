"""A headless Chromium, told what to do over a pipe (Chrome DevTools Protocol)."""

import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

# The browser reads from 3 and writes to 4, whatever numbers the ends of our pipes have.
AS_3_AND_4 = """
import os, sys
heard, said = (os.dup(int(end)) for end in sys.argv[1:3])
heard, said = (end if end > 4 else os.dup2(end, 100 + end) for end in (heard, said))
os.dup2(heard, 3)
os.dup2(said, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Tab:
    """``requests`` are the addresses that the page asked for, ``said`` what it wrote and threw."""

    write_end: int
    read_end: int
    session: str = ""
    number: int = 0
    waiting: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """The answer; what happens meanwhile is kept in ``events``."""
        self.number += 1
        asked: dict[str, Any] = {"id": self.number, "method": method, "params": given}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.write_end, json.dumps(asked).encode() + b"\0")
        while (heard := self._next()).get("id") != asked["id"]:
            self.events.append(heard)
        assert "error" not in heard, heard["error"]
        result: dict[str, Any] = heard["result"]
        return result

    def wait_for(self, method: str) -> None:
        while all(event.get("method") != method for event in self.events):
            self.events.append(self._next())

    def open(self, page: Path, width: int, height: int, **media: str) -> None:
        """``media`` are features such as ``prefers_color_scheme="dark"``."""
        features = [{"name": n.replace("_", "-"), "value": v} for n, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self) -> bytes:
        """The whole page, as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return b64decode(found["data"])

    def pdf(self) -> bytes:
        found = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return b64decode(found["data"])

    @property
    def requests(self) -> list[str]:
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @property
    def said(self) -> list[dict[str, Any]]:
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [e for e in self.events if e.get("method") in kinds]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            part = os.read(self.read_end, 1 << 16)
            assert part, "Chromium has left"
            self.waiting += part
        message, _, self.waiting = self.waiting.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """A tab of a browser that ends with the block."""
    assert PROGRAM is not None
    commands, answers = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", AS_3_AND_4, str(commands[0]), str(answers[1])),
            *(PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"),
        ],
        pass_fds=(commands[0], answers[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    tab = Tab(write_end=commands[1], read_end=answers[0])
    try:
        targets = tab.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        found = tab.call("Target.attachToTarget", targetId=target, flatten=True)
        tab.session = found["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        yield tab
    finally:
        os.close(commands[1])
        os.close(answers[0])
        process.terminate()
        process.wait()
