"""What HTTP itself lets a client do to a server: refused or cut off, and a good stream does not notice."""

import gzip
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from harness import Server
from hostile import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Beside,
    Target,
    connect,
    eventually,
    exchange,
    frame,
    frames,
    get_request,
    literal,
    post_bytes,
    read_all,
    statuses,
)

CHAT = "/v1/chat/completions"
GOOD = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module", autouse=True)
def beside(demo: Server) -> Iterator[Beside]:
    stream = Beside(demo, launcher=demo)
    stream.start()
    yield stream
    stream.finish()


@pytest.fixture(scope="module", autouse=True)
def drop_by_drop(demo: Server, beside: Beside) -> Iterator[None]:
    """Connections whose first request never gets whole; the server has closed them by the end."""
    held = [connect(demo, timeout_s=180) for _ in range(3)]
    held[1].sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nx")
    held[2].sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM, 1, b"\x82"))
    yield
    for connection in held:
        assert 200 not in statuses(read_all(connection))
        connection.close()


def refused(answer: bytes, *expected: int) -> bool:
    """Whether all that came is one of these statuses, or nothing."""
    return all(status in expected for status in statuses(answer)) and len(statuses(answer)) <= 1


def alive(server: Target) -> bool:
    return httpx.get(f"{server.base_url}/health", timeout=60).status_code == 200


def test_a_header_of_a_megabyte(demo: Server, beside: Beside) -> None:
    sent = HEALTH + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n"
    assert refused(beside.exchange("header of 1 MB", sent), 431)


def test_ten_thousand_headers(demo: Server, beside: Beside) -> None:
    sent = HEALTH + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)) + b"\r\n"
    assert refused(beside.exchange("10,000 headers", sent), 431)


def test_a_path_of_a_megabyte(demo: Server, beside: Beside) -> None:
    sent = b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    assert refused(beside.exchange("path of 1 MB", sent), 414, 431)


def test_a_header_with_an_underscore_means_nothing(demo: Server) -> None:
    answer = exchange(demo, post_bytes(CHAT, GOOD, "content_length: 5", "transfer_encoding: chunked"))
    assert statuses(answer) == [200]


@pytest.mark.parametrize(
    "headers",
    [
        "content-length: 4\r\ncontent-length: 40",
        "content-length: -1",
        "content-length: +4",
        "content-length: 99999999999999999999",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
        "bad header: x",
        "x\0y: z",
        "x: a\0b",
        " x: folded",
    ],
)
def test_malformed_headers(demo: Server, beside: Beside, headers: str) -> None:
    sent = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{{}}".encode()
    answer = beside.exchange(f"header {headers!r}", sent)
    assert refused(answer, 400, 413, 431), answer[:200]


def test_length_and_chunks_together_never_hide_a_second_request(demo: Server, beside: Beside) -> None:
    hidden = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    for order in (
        b"content-length: %d\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: %d\r\n",
    ):
        head = b"POST /generate HTTP/1.1\r\nhost: x\r\n" + order % (5 + len(hidden)) + b"\r\n"
        answer = beside.exchange("length and chunks together", head + b"0\r\n\r\n" + hidden)
        assert len(statuses(answer)) == 1, "one answer, and the end of the connection"
        assert statuses(answer)[0] >= 400


@pytest.mark.parametrize("size", ["ffffffffffffffff", "-1", "zz", "5;" + "x" * 100_000, "fffffffff"])
def test_chunks_of_impossible_sizes(demo: Server, size: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(demo) as connection:
        # A server that has refused already may have closed its side.
        with suppress(OSError):
            connection.sendall(head.encode() + size.encode() + b"\r\n{}\r\n")
            connection.shutdown(socket.SHUT_WR)
        assert refused(read_all(connection), 400, 413)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(demo: Server, beside: Beside) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3000000\r\n\r\n"
    answer = beside.exchange("Expect with 3 MB", head.encode())
    assert statuses(answer) == [413]


def test_a_body_of_100_mb(demo: Server, beside: Beside) -> None:
    body = b'{"messages":[{"role":"user","content":"' + b"x" * 100_000_000 + b'"}]}'
    assert refused(beside.exchange("body of 100 MB", post_bytes(CHAT, body)), 413)


def test_a_compressed_body_is_not_unpacked(demo: Server, beside: Beside) -> None:
    body = gzip.compress(b" " * 100_000_000)
    answer = beside.exchange("gzip bomb", post_bytes(CHAT, body, "content-encoding: gzip"))
    assert statuses(answer) == [415] and b"Content-Encoding" in answer
    assert statuses(exchange(demo, post_bytes(CHAT, body))) == [400]


def test_half_a_body_and_no_more(demo: Server) -> None:
    with connect(demo) as connection:
        connection.sendall(post_bytes(CHAT, GOOD)[:-10])
        connection.shutdown(socket.SHUT_WR)
        assert refused(read_all(connection), 400)


def test_bytes_that_are_not_http(demo: Server, beside: Beside) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500 + b"\r\n\r\n",
        b"\0" * 100_000,
        b"\r\n" * 1000 + b"x\r\n\r\n",
    ):
        assert refused(beside.exchange("bytes that are not HTTP", sent), 400, 431)


def test_every_method_and_strange_targets(demo: Server) -> None:
    for method in ("TRACE", "CONNECT", "DELETE", "PUT", "BREW"):
        answer = exchange(demo, f"{method} /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert refused(answer, 400, 404, 405), method
    for target in ("/../etc/passwd", "//health", "/%00", "/v1/models/../../x", "http://other/health?x", "*"):
        answer = exchange(demo, f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert b"root:" not in answer and len(statuses(answer)) <= 1, target


def test_ten_thousand_idle_connections(demo: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(10_000, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    idle: list[socket.socket] = []
    try:
        while len(idle) < wanted:
            idle += [connect(demo) for _ in range(500)]
            # Those who wait to be let in are let in now: more than the system's queue holds would be sent away.
            assert alive(demo)
        answer = httpx.post(
            f"{demo.base_url}{CHAT}", content=GOOD, headers={"content-type": "application/json"}, timeout=60
        )
        assert answer.status_code == 200
    finally:
        for connection in idle:
            connection.close()


def http2(server: Target, sent: bytes) -> list[tuple[int, int, int, bytes]]:
    """Sends frames after the preface and gives those that come until the server closes."""
    with connect(server) as connection:
        # A server that has seen enough closes before all is sent, and then there is no end left to shut:
        # ENOTCONN, an OSError that is no ConnectionError.
        with suppress(OSError):
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + sent)
            connection.shutdown(socket.SHUT_WR)
        return list(frames(read_all(connection)))


def test_http2_requests_that_are_reset_at_once(demo: Server, beside: Beside) -> None:
    storm = b"".join(
        frame(HEADERS, END_STREAM | END_HEADERS, stream, get_request(b"/health"))
        + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
        for stream in range(1, 20_001, 2)
    )
    answer = beside.timed("10,000 resets", lambda: http2(demo, storm))
    ends = [payload for kind, _, _, payload in answer if kind == GOAWAY]
    assert ends and int.from_bytes(ends[-1][4:8], "big") == 11, "ENHANCE_YOUR_CALM"


def test_http2_headers_without_end(demo: Server, beside: Beside) -> None:
    flood = frame(HEADERS, END_STREAM, 1, get_request(b"/health"))
    flood += frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 100) * 1000
    answer = beside.timed("10 MB of CONTINUATION", lambda: http2(demo, flood))
    assert not any(kind == DATA for kind, *_ in answer)
    assert alive(demo)


def test_http2_more_streams_than_allowed(demo: Server, beside: Beside) -> None:
    many = b"".join(
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            b"\x83\x86" + literal(b":path", CHAT.encode()) + literal(b":authority", b"x"),
        )
        for stream in range(1, 2001, 2)
    )
    answer = beside.timed("1,000 streams", lambda: http2(demo, many))
    refusals = [
        stream for kind, _, stream, payload in answer if kind == RST_STREAM and payload == b"\0\0\0\x07"
    ]
    assert len(refusals) >= 1000 - 300, "REFUSED_STREAM beyond 256"


@pytest.mark.parametrize(
    "sent",
    [
        frame(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"),
        frame(SETTINGS, 0, 0, b"\0\x05\0\0\0\0"),
        frame(SETTINGS, 0, 0, b"\0"),
        frame(HEADERS, END_STREAM | END_HEADERS, 2, b"\x82"),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(DATA, END_STREAM, 1, b"{}"),
        b"\xff\xff\xff\0\0\0\0\0\x01",
        frame(8, 0, 0, b"\x7f\xff\xff\xff") * 3,
    ],
)
def test_http2_frames_that_break_the_protocol(demo: Server, beside: Beside, sent: bytes) -> None:
    answer = beside.timed(f"HTTP/2 frame {sent[:20].hex()}", lambda: http2(demo, sent))
    assert not any(kind in (DATA, HEADERS) for kind, *_ in answer)
    assert alive(demo)


def test_http2_pings_and_settings_without_end(demo: Server, beside: Beside) -> None:
    flood = frame(PING, 0, 0, b"12345678") * 10_000 + frame(SETTINGS, 0, 0) * 10_000
    beside.timed("20,000 pings and settings", lambda: http2(demo, flood))
    assert alive(demo)


@pytest.mark.parametrize("tokens", [0, 1, 40])
def test_a_client_that_goes_away_frees_its_blocks(demo: Server, tokens: int) -> None:
    body = {"prompt": "Once upon a time " * 100, "max_tokens": 500, "ignore_eos": True, "stream": True}
    before = demo.metric("tgi_request_failure")
    with httpx.stream("POST", f"{demo.base_url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        for _ in range(2 * tokens):
            next(lines)
    assert eventually(lambda: demo.metric("tgi_request_failure") > before)
    # The good stream beside it is the one that may be left.
    assert eventually(lambda: demo.metric("tgi_batch_current_size") <= 1)
