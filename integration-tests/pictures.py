"""Pictures of the playground for the documentation: `make pictures`."""

import sys
import tempfile
from pathlib import Path

from browser import Page, browse, find_browser
from harness import serve

DONE = "document.querySelector('.answered:last-child')?.dataset.state === 'done'"
STORY = "Tell me a very short story about a lighthouse."


def ask(page: Page, text: str) -> None:
    page.type(text)
    page.press("Enter")
    page.wait(DONE)


def take(page: Page, url: str, folder: Path) -> None:
    """The same chat in light and dark, with a token's alternatives shown, and the page as it opens."""
    page.open(url, height=860)
    page.wait("document.getElementById('state').dataset.state === 'ready'")
    page.wait("document.getElementById('rate').textContent !== '–'")
    page.picture(folder / "playground-start.png")
    for name, dark in (("playground-light.png", False), ("playground-dark.png", True)):
        page.open(url, height=860, dark=dark)
        page.evaluate("document.getElementById('temperature').value = '0'")
        ask(page, "What is the capital of France?")
        ask(page, STORY)
        page.point_at(".answered:last-child .token", 12)
        page.wait("!document.getElementById('inspector').hidden")
        page.picture(folder / name)


def main() -> None:
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium: install the package `chromium`, or name one by CHROMIUM=/path/to/it")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        serve("--model-id", "demo") as server,
        browse(program, Path(profile)) as page,
    ):
        take(page, f"{server.base_url}/ui", folder)


if __name__ == "__main__":
    main()
