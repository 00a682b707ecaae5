"""A Chromium without a window, driven over a pipe: no driver and no package beside the browser."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
TIMEOUT_S = 120
MODIFIER_SHIFT = 8
KEY_CODES = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}


def find_browser() -> str | None:
    """The browser's program: CHROMIUM, or one on PATH; None when there is none."""
    if given := os.environ.get("CHROMIUM"):
        return given
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. `events` holds all that the browser told of it, oldest first."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int) -> None:
        self._process = process
        self._commands = commands
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._answers.read(65536)
            assert piece, f"the browser ended with code {self._process.wait()}"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Loads a page and waits for its scripts."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited when it is a promise."""
        result = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Looks at every frame until the JavaScript expression holds."""
        held = self.evaluate(
            f"""new Promise((done) => {{
                const end = performance.now() + {TIMEOUT_S * 1000};
                const look = () => ({condition}) ? done(true)
                    : performance.now() > end ? done(false) : setTimeout(look, 16);
                look();
            }})"""
        )
        assert held, f"{condition} did not come true; the page says:\n{self.text('body')}"

    def text(self, selector: str) -> str:
        """What a reader sees of the first element that matches."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def count(self, selector: str) -> int:
        return self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def type(self, text: str) -> None:
        """Puts text where the focus is, as a keyboard or an input method does."""
        self.command("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        """A key that is pressed and let go; a character or a name such as `Enter`."""
        event: dict[str, Any] = {"key": key, "modifiers": MODIFIER_SHIFT if shift else 0}
        event["windowsVirtualKeyCode"] = KEY_CODES.get(key, ord(key[0]))
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def point_at(self, selector: str, number: int = 0) -> None:
        """Moves the pointer to the middle of the element's first line."""
        box = self.evaluate(
            f"""(() => {{
                const element = document.querySelectorAll({json.dumps(selector)})[{number}];
                element.scrollIntoView({{block: "nearest"}});
                const box = element.getClientRects()[0];
                return [box.left + box.width / 2, box.top + box.height / 2];
            }})()"""
        )
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def requests(self) -> list[dict[str, Any]]:
        """All requests so far: url, method, headers."""
        self.command("Runtime.evaluate", expression="0")
        return [e["params"]["request"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, breaches of the policy."""
        self.command("Runtime.evaluate", expression="0")
        found: list[str] = []
        for event in self.events:
            told = event.get("params", {})
            if event["method"] == "Log.entryAdded":
                found.append(told["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(json.dumps(told["args"]))
        return found

    def picture(self, path: Path) -> None:
        """What is seen, as a PNG file."""
        shot = self.command("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(shot["data"]))


def high_pipe() -> tuple[int, int]:
    """A pipe whose two ends are in nobody's way."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


@contextlib.contextmanager
def browse(program: str, profile: Path) -> Generator[Page]:
    """A page of a browser of its own, which keeps what it keeps in `profile`."""
    read_commands, commands = high_pipe()
    answers, write_answers = high_pipe()
    # The browser speaks on descriptors 3 and 4; a shell puts them there.
    flags = f"--user-data-dir={profile} --remote-debugging-pipe --headless=new --no-first-run --disable-gpu"
    flags += " --no-sandbox --disable-background-networking --disable-component-update --disable-sync"
    script = f'exec "$0" {flags} --hide-scrollbars about:blank 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        ["bash", "-c", script, program],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Page(process, commands, answers)
    finally:
        # The end of the pipe ends the browser.
        os.close(commands)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
