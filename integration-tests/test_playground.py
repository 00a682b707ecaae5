"""The page at /ui in a real browser against the real processes."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Page, browse, find_browser
from harness import Server

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
DONE = "document.querySelector('.answered:last-child')?.dataset.state === 'done'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium: install the package `chromium`, or name one by CHROMIUM=/path/to/it")
    with browse(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture()
def page(browser: Page, demo: Server) -> Iterator[Page]:
    """The page, just opened. Afterwards nothing has complained and nobody else was asked."""
    browser.events.clear()
    browser.open(f"{demo.base_url}/ui")
    yield browser
    assert browser.complaints() == []
    assert {
        url for request in browser.requests() if not (url := request["url"]).startswith(demo.base_url)
    } == set()


def ask(page: Page, text: str) -> None:
    page.type(text)
    page.press("Enter")
    page.wait(DONE)


def be_greedy(page: Page) -> None:
    page.evaluate("document.getElementById('temperature').value = '0'")


def answer_with(page: Page, events: list[str]) -> None:
    """From now on the server's answers to chats are these events."""
    stream = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
    page.evaluate(
        f"""(() => {{
            const real = window.fetch;
            window.fetch = (url, options) => options.method === "POST"
                ? Promise.resolve(new Response({json.dumps(stream)})) : real(url, options);
        }})()"""
    )


def chunk(text: str, tokens: list[tuple[str, list[int]]], finish: str | None = None) -> str:
    scored = [{"token": name, "bytes": data, "logprob": -0.5, "top_logprobs": []} for name, data in tokens]
    choice = {
        "index": 0,
        "delta": {"content": text},
        "logprobs": {"content": scored},
        "finish_reason": finish,
    }
    return json.dumps({"choices": [choice]})


def test_a_chat_by_keyboard_alone(page: Page) -> None:
    be_greedy(page)
    ask(page, QUESTION)
    tokens = page.evaluate(
        "[...document.querySelectorAll('.token:not(.end)')].map((token) => token.textContent)"
    )
    assert "".join(tokens) == ANSWER
    figures = page.text(".figures")
    for name in ("first token", "speed", "in queue", "prompt", "answer"):
        assert name in figures
    # Backwards over the buttons to the answer: one stop for all its tokens.
    page.evaluate("document.getElementById('prompt').focus()")
    page.press("Tab", shift=True)
    assert page.evaluate("document.activeElement.textContent") == tokens[0]
    page.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == tokens[1]
    assert page.count("#inspector .choice") == 5
    page.press("Escape")
    assert page.evaluate("document.getElementById('inspector').hidden")


def test_a_token_tells_its_alternatives_and_the_answer_goes_on_from_one(page: Page) -> None:
    be_greedy(page)
    ask(page, QUESTION)
    page.point_at(".token", 1)
    page.wait("!document.getElementById('inspector').hidden")
    shares = page.evaluate(
        "[...document.querySelectorAll('.choice')].map((c) => Number(c.style.getPropertyValue('--share')))"
    )
    assert shares == sorted(shares, reverse=True)
    assert 0 < math.fsum(shares) <= 1.001
    second = page.evaluate("document.querySelectorAll('.choice .name')[1].textContent").replace("␣", " ")
    page.evaluate("document.querySelectorAll('.choice')[1].click()")
    page.wait(
        f"document.querySelectorAll('.answered').length === 1 && {DONE} && document.querySelector('.put')"
    )
    assert page.text(".answered .text").startswith("The" + second)
    sent = [json.loads(r["postData"]) for r in page.requests() if r["method"] == "POST"][-1]
    assert sent["messages"][-1] == {"role": "assistant", "content": "The" + second}


def test_what_the_model_says_is_never_markup(page: Page) -> None:
    attack = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    answer_with(page, [chunk(attack, [(attack, list(attack.encode()))], "stop")])
    ask(page, attack)
    assert page.text(".answered .text") == attack == page.text(".asked .text")
    assert page.count(".turns img, .turns script") == 0
    assert "taken" not in page.evaluate("document.title")


def test_characters_that_are_split_over_tokens_are_whole(page: Page) -> None:
    first, second = "🦙".encode()[:3], "🦙".encode()[3:]
    answer_with(page, [chunk("", [("?", list(first))]), chunk("🦙", [("?", list(second))], "length")])
    ask(page, "A llama, please.")
    assert page.evaluate("[...document.querySelectorAll('.token')].map((t) => t.textContent)") == ["·", "🦙"]


def test_errors_are_told_and_the_chat_goes_on(page: Page) -> None:
    page.evaluate("document.getElementById('temperature').value = '-1'")
    page.type(QUESTION)
    page.press("Enter")
    page.wait("document.querySelector('.failure')")
    assert "temperature" in page.text(".failure")
    be_greedy(page)
    ask(page, QUESTION)
    sent = [json.loads(r["postData"]) for r in page.requests() if r["method"] == "POST"][-1]
    assert sent["messages"] == [{"role": "user", "content": QUESTION}]
    # The browser itself notes the first answer's status.
    page.events[:] = [event for event in page.events if event["method"] != "Log.entryAdded"]


def test_escape_stops_an_answer_and_frees_its_place(page: Page, demo: Server) -> None:
    page.evaluate("document.getElementById('max_tokens').value = '2000'")
    page.evaluate("document.getElementById('temperature').value = '1.5'")
    page.type("Tell me a long story.")
    page.press("Enter")
    page.wait("document.querySelectorAll('.token').length > 3")
    page.press("Escape")
    page.wait("document.querySelector('.answered').dataset.state === 'stopped'")
    page.wait("document.getElementById('running').textContent === '0'")
    assert page.text(".figures").endswith("stopped by you")
    page.evaluate("document.getElementById('clear').click()")
    assert page.count(".turn") == 0


def test_the_key_goes_with_requests_and_is_kept_nowhere(page: Page) -> None:
    page.evaluate("document.getElementById('key').focus()")
    page.type("sesame")
    page.press("Tab")
    page.evaluate("document.getElementById('prompt').focus()")
    ask(page, "Hi")
    sent = [r for r in page.requests() if r["method"] == "POST"][-1]
    assert sent["headers"]["authorization"] == "Bearer sesame"
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert "sesame" not in kept


def test_the_engines_state_is_asked_for_while_somebody_looks(page: Page, demo: Server) -> None:
    page.wait("document.getElementById('rate').textContent !== '–'")
    facts = page.text("#facts")
    info = demo.client().get("/info").json()
    assert page.text("#model") == info["model_id"] and info["model_dtype"] in facts
    page.evaluate(
        """(() => {
            window.asked = 0;
            const real = window.fetch;
            window.fetch = (...given) => { window.asked += 1; return real(...given); };
            Object.defineProperty(document, "visibilityState", {get: () => window.seen, configurable: true});
            window.seen = "hidden";
            document.dispatchEvent(new Event("visibilitychange"));
        })()"""
    )
    # What was on its way may end; then there is nothing, for more than two periods.
    page.evaluate("new Promise((done) => setTimeout(done, 500))")
    page.evaluate("window.asked = 0")
    page.evaluate("new Promise((done) => setTimeout(done, 2500))")
    assert page.evaluate("window.asked") == 0
    page.evaluate("window.seen = 'visible'; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("window.asked > 0")


def test_light_and_dark_differ_and_a_phone_has_no_sideways_scroll(
    page: Page, demo: Server, tmp_path: Path
) -> None:
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(colour)
    page.open(f"{demo.base_url}/ui", dark=True)
    assert page.evaluate(colour) != light
    page.open(f"{demo.base_url}/ui", width=360, height=700)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.picture(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").read_bytes().startswith(b"\x89PNG")
