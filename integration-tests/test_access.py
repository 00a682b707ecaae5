"""Keys, tenants, limits and TLS of a real server; and that no secret comes out anywhere."""

import hashlib
import json
import os
import re
import secrets
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness import START_TIMEOUT_S, Server, children, free_port, serve
from hostile import eventually, router_pid

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "temperature": 0}
ALICE, BOB, OPERATOR = (f"{name}-{secrets.token_hex(16)}" for name in ("alice", "bob", "operator"))


def entry(key: str, tenant: str, **limits: int) -> dict:
    return {"tenant": tenant, "sha256": hashlib.sha256(key.encode()).hexdigest(), **limits}


def write_keys(path: Path, *entries: dict) -> None:
    """Replaces the file in one go, as an editor or a mounted secret does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": list(entries)}))
    fresh.rename(path)


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, entry(ALICE, "alice", requests_per_minute=1), entry(BOB, "bob", tokens_per_minute=600))
    return path


@pytest.fixture(scope="module")
def guarded(key_file: Path) -> Iterator[Server]:
    port = free_port()
    arguments = ("--model-id", "demo", "--api-keys-file", str(key_file), "--prometheus-port", str(port))
    with serve(*arguments, "--log-level", "debug", env={"API_KEY": OPERATOR}) as server:
        server.metrics_port = port  # type: ignore[attr-defined]
        yield server


def post(server: Server, headers: dict[str, str], path: str = CHAT, body: dict = BODY) -> httpx.Response:
    return httpx.post(f"{server.base_url}{path}", json=body, headers=headers, timeout=60)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


OPEN = {("get", "/"), ("get", "/health"), ("get", "/ping")}


def test_no_route_but_health_is_open(guarded: Server) -> None:
    """Every route that the document knows, and there is no other."""
    assert httpx.get(f"{guarded.base_url}/api-doc/openapi.json", timeout=60).status_code == 401
    document = httpx.get(
        f"{guarded.base_url}/api-doc/openapi.json", headers=bearer(OPERATOR), timeout=60
    ).json()
    routes = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert routes > OPEN and len(routes) > 15
    for method, path in sorted(routes):
        url = guarded.base_url + re.sub(r"\{[^}]*\}", "x", path)
        answer = httpx.request(
            method, url, content="{}", headers={"content-type": "application/json"}, timeout=60
        )
        if (method, path) in OPEN:
            assert answer.status_code == 200, path
        else:
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer" and answer.json()["error"]
    port = guarded.metrics_port  # type: ignore[attr-defined]
    assert "tgi_request_count" in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    assert httpx.get(f"http://127.0.0.1:{port}/info", timeout=60).status_code == 404


def test_both_headers_and_every_key(guarded: Server) -> None:
    for headers in (
        bearer(BOB),
        {"x-api-key": BOB},
        bearer(OPERATOR),
        {"authorization": f"bearer {OPERATOR}"},
    ):
        assert post(guarded, headers).status_code == 200
    for headers in (
        bearer(BOB.upper()),
        bearer(BOB[:-1]),
        {"authorization": BOB},
        {"x_api_key": BOB},
        {"x-api-key": hashlib.sha256(BOB.encode()).hexdigest()},
        {"cookie": f"key={BOB}"},
    ):
        assert post(guarded, headers).status_code == 401, headers
    assert httpx.post(f"{guarded.base_url}{CHAT}?key={BOB}", json=BODY, timeout=60).status_code == 401


def test_limits_are_of_each_key(guarded: Server) -> None:
    answers = [post(guarded, bearer(ALICE)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "1"
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(answers[1].headers["retry-after"]) <= 60
    assert answers[1].json()["error"]["code"] == "rate_limit_exceeded"
    rich = post(guarded, bearer(BOB))
    assert rich.status_code == 200
    left = int(rich.headers["x-ratelimit-remaining-tokens"])
    assert 300 < left < 600


def test_keys_are_read_again_without_a_restart(guarded: Server, key_file: Path) -> None:
    carol = f"carol-{secrets.token_hex(16)}"
    seen = guarded.log.count("API keys read again")
    assert post(guarded, bearer(carol)).status_code == 401

    def spent_for_a_while() -> bool:
        answer = post(guarded, bearer(ALICE))
        return answer.status_code == 429 and int(answer.headers["retry-after"]) > 30

    assert eventually(spent_for_a_while)
    write_keys(key_file, entry(carol, "carol"), entry(ALICE, "alice", requests_per_minute=1))
    os.kill(router_pid(guarded), 1)
    guarded.wait_log(r"(?s)" + r"API keys read again.*?" * (seen + 1))
    assert post(guarded, bearer(ALICE)).status_code == 429, "what was spent stays spent"
    assert post(guarded, bearer(carol)).status_code == 200
    assert post(guarded, bearer(BOB)).status_code == 401, "a key that is gone"
    assert post(guarded, bearer(OPERATOR)).status_code == 200, "--api-key is in no file"
    key_file.write_text('{"keys": [{"tenant": "' + carol)
    guarded.wait_log("the API keys stay as they were")
    assert post(guarded, bearer(carol)).status_code == 200
    assert carol not in guarded.log


def test_no_secret_comes_out(guarded: Server, key_file: Path) -> None:
    prompt = f"whisper-{secrets.token_hex(8)}"
    body = {**BODY, "messages": [{"role": "user", "content": prompt}], "user": prompt, "stop": ["", prompt]}
    answers = [
        post(guarded, bearer(OPERATOR), body=body),
        post(guarded, bearer(f"{OPERATOR}x")),
        post(guarded, {"x-api-key": "guess"}),
    ]
    answers += [
        post(guarded, bearer(OPERATOR), body={**BODY, "messages": [{"role": "user", "content": prompt}]})
    ]
    answers += [
        httpx.get(f"{guarded.base_url}{path}", headers=bearer(OPERATOR), timeout=60)
        for path in ("/info", "/metrics", "/v1/models", "/health", f"/{prompt}")
    ]
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (ALICE, BOB, OPERATOR)]
    for secret in (ALICE, BOB, OPERATOR, *hashes):
        for answer in answers:
            assert secret not in answer.text and secret not in str(answer.headers)
        assert secret not in guarded.log
    assert prompt not in guarded.log
    assert str(key_file) not in "".join(answer.text for answer in answers)
    for pid in [guarded.process.pid, *children(guarded.process.pid)]:
        assert OPERATOR not in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    shards = [pid for pid in children(guarded.process.pid) if pid != router_pid(guarded)]
    for pid in shards:
        assert OPERATOR.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_random_names_make_no_new_series(guarded: Server) -> None:
    port = guarded.metrics_port  # type: ignore[attr-defined]

    def series() -> set[str]:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if line and line[0] != "#"}

    def ask_with_random_names() -> None:
        name = secrets.token_hex(8)
        post(guarded, bearer(OPERATOR), body={**BODY, "model": name, "user": name})
        post(guarded, bearer(name))
        httpx.get(f"{guarded.base_url}/{name}", headers={"x-tenant": name}, timeout=60)

    ask_with_random_names()
    before = series()
    for _ in range(50):
        ask_with_random_names()
    assert series() == before


def test_a_key_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{"tenant": "a", "sha256": "sesame-in-the-open"}]}))
    server = Server("--model-id", "demo", "--api-keys-file", str(path))
    assert server.process.wait(START_TIMEOUT_S) == 1
    server.wait_log(r"keys\[0\].sha256` must be the key's SHA-256")
    assert "sesame-in-the-open" not in server.log


def test_https(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def certify() -> None:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )

    certify()
    with serve("--model-id", "demo", "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert "ready on https://" in server.log
        url = f"https://127.0.0.1:{server.port}"

        def trusting(certificate: Path) -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(certificate))

        def ask(context: ssl.SSLContext) -> httpx.Response:
            return httpx.post(f"{url}{CHAT}", json=BODY, verify=context, timeout=60)

        first = trusting(certificate)
        assert ask(first).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health", timeout=60)
        certify()
        # It may have looked at the files meanwhile, when one of them was new.
        seen = server.log.count("certificate read again")
        os.kill(router_pid(server), 1)
        server.wait_log(r"(?s)" + r"certificate read again.*?" * (seen + 1))
        assert ask(trusting(certificate)).status_code == 200
        with pytest.raises(httpx.ConnectError):
            ask(first)
        assert not re.search("PRIVATE KEY", server.log)
