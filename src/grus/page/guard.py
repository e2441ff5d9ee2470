"""Who may talk to the page: its own name, its own origin, small requests; and what it may load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024
# Plotly brings its styles along in its script, as elements and attributes.
STYLES = "style-src 'self' 'unsafe-inline'"
HEADERS = {
    "content-security-policy": f"default-src 'none'; script-src 'self'; {STYLES};"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application in front of another one.

    A request must name this server in its Host header, so that no foreign name that points at
    127.0.0.1 gets an answer. Whatever asks for data (every POST) must come from the page
    itself: its Origin is this server's, which a browser states with every POST and no foreign page
    can forge.
    Bodies are JSON of at most 64 KiB. What is refused gets one sentence.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        if port == 80:
            self.hosts |= {"127.0.0.1", "localhost"}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on; either way the answer carries the headers."""
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            return  # no sockets, no life cycle

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        refusal = self.refusal(scope)
        body = None
        if refusal is None and scope["method"] == "POST":
            body = await whole(receive)
            if body is None:
                refusal = (413, f"a request may have at most {MAX_BODY // 1024} KiB")
        if refusal is not None:
            status, why = refusal
            await JSONResponse({"error": why}, status)(scope, receive, out)
        else:
            await self.app(scope, receive if body is None else replayed(body), out)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence for a request that must not be answered."""
        given = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"]]
        hosts = [v for k, v in given if k == "host"]
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "this page answers only to its own name, 127.0.0.1 or localhost"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "the page knows GET and POST only"
        if scope["method"] != "POST":
            return None
        origins = [v for k, v in given if k == "origin"]
        if origins != [f"http://{hosts[0].lower()}"]:
            return 403, "only the page itself may ask for data: the Origin is another one"
        kinds = [v.split(";")[0].strip().lower() for k, v in given if k == "content-type"]
        if kinds != ["application/json"]:
            return 415, "a request must be JSON: Content-Type: application/json"
        return None


async def whole(receive: Receive) -> bytes | None:
    """The body of a request; None as soon as it is too large, whatever its length header says."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the other side has gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def replayed(body: bytes) -> Any:
    """A ``receive`` that gives a body that was read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
