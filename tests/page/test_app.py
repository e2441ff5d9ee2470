"""The page answers its own name and origin alone, opens no path, and refuses in one line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("plotly")

import httpx
from pages import session

from grus.builds import resource
from grus.page import server
from grus.page.server import FILES, HEADERS, MAX_BODY, Guard, application
from grus.page.session import Session

PORT = 8123
HOME = f"http://127.0.0.1:{PORT}"
OWN = {"origin": HOME, "content-type": "application/json"}


class Client:
    """Requests to an application in this process."""

    def __init__(self, app: Any, host: str) -> None:
        self.app, self.host = app, host

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self.host) as asking:
                return await asking.request(method, path, **how)

        return asyncio.run(one())

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.request("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.request("POST", path, **how)


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for k in range(0, len(body), 1000):
        yield body[k : k + 1000]


def client(app: Any, host: str = HOME) -> Client:
    return Client(app, host)


@pytest.fixture(scope="module")
def app() -> Guard:
    return application(session(), PORT)


@pytest.fixture(scope="module")
def page(app: Guard) -> Client:
    return client(app)


def test_the_page_and_its_parts_are_served(page: Client) -> None:
    for path, (name, kind) in FILES.items():
        got = page.get(path)
        assert got.status_code == 200
        assert got.headers["content-type"].startswith(kind)
        assert got.text == server.content(name) != ""
    script = page.get("/plotly.js")
    assert (script.status_code, "Plotly" in script.text) == (200, True)


def test_questions_are_answered(page: Client) -> None:
    assert page.post("/model", json={}, headers=OWN).json()["cell"] == "gru"
    answer = page.post("/look", json={"text": "crane", "hold": {"z": 0}}, headers=OWN).json()
    assert answer["steps"] == 5
    sheet = page.post("/worksheet", json={"text": "crane", "step": 0}, headers=OWN).json()
    assert sheet["symbol"] == "c"


def test_localhost_is_its_name_too(app: Guard) -> None:
    home = f"http://localhost:{PORT}"
    got = client(app, home).post("/model", json={}, headers={**OWN, "origin": home})
    assert got.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"0.0.0.0:{PORT}"]
)
@pytest.mark.parametrize("path", [*FILES, "/plotly.js"])
def test_another_host_is_refused(page: Client, host: str, path: str) -> None:
    got = page.get(path, headers={"host": host})
    assert (got.status_code, "own name" in got.json()["error"]) == (421, True)


ORIGINS = ["null", "http://evil.example", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:1"]


@pytest.mark.parametrize("origin", [*ORIGINS, f"http://localhost:{PORT}", None])
@pytest.mark.parametrize("path", ["/model", "/look", "/worksheet", "/elsewhere"])
def test_another_origin_or_none_gets_no_data(page: Client, origin: str | None, path: str) -> None:
    headers = {k: v for k, v in {**OWN, "origin": origin}.items() if v is not None}
    got = page.post(path, json={"text": "a"}, headers=headers)
    assert (got.status_code, "Origin" in got.json()["error"]) == (403, True)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_could_send_is_refused(page: Client, kind: str) -> None:
    got = page.post("/look", content="{}", headers={**OWN, "content-type": kind})
    assert (got.status_code, "must be JSON" in got.json()["error"]) == (415, True)


@pytest.mark.parametrize("told", [True, False])
def test_a_large_body_is_refused_whatever_its_header_says(page: Client, told: bool) -> None:
    body = b" " * (MAX_BODY + 1)
    content: Any = body if told else pieces(body)
    got = page.post("/look", content=content, headers=OWN)
    assert (got.status_code, "64 KiB" in got.json()["error"]) == (413, True)


@pytest.mark.parametrize("body", ["", "{", "[]", "nonsense", "[" * 30_000, '{"text": 1}'])
def test_what_is_no_request_is_refused(page: Client, body: str) -> None:
    got = page.post("/look", content=body, headers=OWN)
    assert got.status_code == 400
    assert "\n" not in got.json()["error"]


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_gate_held_at_a_huge_number_is_refused(page: Client, digits: int) -> None:
    body = f'{{"text": "a", "hold": {{"z": 1{"0" * digits}}}}}'
    got = page.post("/look", content=body, headers=OWN)
    assert got.status_code == 400
    if digits == 400:
        assert got.json()["error"] == "each gate must be held between 0 and 1"


def test_half_a_symbol_is_refused(page: Client) -> None:
    got = page.post("/look", content=json.dumps({"text": "\ud800"}), headers=OWN)
    assert (got.status_code, "vocabulary" in got.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    "path",
    ["/page.py", "/static/page.js", "/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/etc/passwd"],
)
def test_no_address_is_a_path(page: Client, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(page: Client, method: str) -> None:
    got = page.request(method, "/look", headers=OWN)
    assert got.status_code == 405
    assert "access-control-allow-origin" not in got.headers


def test_data_is_not_given_to_a_get(page: Client) -> None:
    assert page.get("/look").status_code == 405


def test_every_answer_carries_the_headers(page: Client) -> None:
    answers = [
        page.get("/"),
        page.get("/missing"),
        page.get("/", headers={"host": "evil.example"}),
        page.post("/look", json={"text": "é"}, headers=OWN),
        page.post("/model", json={}, headers=OWN),
    ]
    for got in answers:
        assert {name: got.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_a_failure_inside_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    broken = session()
    monkeypatch.setattr(broken, "look", fail)
    got = client(application(broken, PORT)).post("/look", json={}, headers=OWN)
    assert (got.status_code, "secret" in got.text) == (500, False)
    assert got.json()["error"]


@pytest.mark.parametrize(
    ("loosen", "probe"),
    [
        (lambda g: g.hosts.add("evil.example"), {"host": "evil.example", "origin": HOME}),
        (
            lambda g: setattr(g, "refusal", lambda scope: None),
            {"host": f"127.0.0.1:{PORT}", "origin": "http://evil.example"},
        ),
    ],
)
def test_a_guard_that_lets_more_in_is_seen(
    loosen: Callable[[Guard], None], probe: dict[str, str]
) -> None:
    made = application(session(), PORT)
    headers = {**OWN, **probe}
    assert client(made).post("/model", json={}, headers=headers).status_code in (403, 421)
    loosen(made)
    headers["origin"] = probe["origin"] if "127" in probe["host"] else f"http://{probe['host']}"
    assert client(made).post("/model", json={}, headers=headers).status_code == 200


def test_the_page_names_no_other_host() -> None:
    for name, _ in FILES.values():
        assert "//" not in server.content(name).replace("// ", ""), name


def test_markup_in_a_text_is_never_read_as_markup() -> None:
    names = [name for name, kind in FILES.values() if kind == "text/javascript"]
    script = "".join(map(server.content, names)) + resource("page.js")
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert danger not in script


def test_the_guard_limits_are_used(monkeypatch: pytest.MonkeyPatch, app: Guard) -> None:
    monkeypatch.setattr(server, "MAX_BODY", 10)
    assert client(app).post("/model", content=b'{"text": "a"}', headers=OWN).status_code == 413


def test_two_sessions_share_nothing() -> None:
    one, other = session(), session(seed=1)
    assert isinstance(one, Session)
    first = client(application(one, PORT)).post("/look", json={"text": "a"}, headers=OWN).json()
    second = client(application(other, PORT)).post("/look", json={"text": "a"}, headers=OWN).json()
    assert first["predictions"] != second["predictions"]
