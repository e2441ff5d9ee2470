"""The page's application and server: fixed files and three requests, on 127.0.0.1 until Ctrl-C."""

from __future__ import annotations

import json
import socket
import webbrowser
from collections.abc import Callable
from functools import cache
from importlib import resources
from threading import Thread
from typing import TYPE_CHECKING, Any

from grus.builds import resource
from grus.errors import InputError, needed_for
from grus.page.session import Answer, Request, Session, parse

if TYPE_CHECKING:
    from starlette.requests import Request as Asked
    from starlette.responses import Response
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
    127.0.0.1 gets an answer. A request for data (every POST) must come from the page itself: its
    Origin is this server's, which a browser states with every POST and no foreign page
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
        headers = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"]]
        hosts = [v for k, v in headers if k == "host"]
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "this page answers only to its own name, 127.0.0.1 or localhost"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "the page knows GET and POST only"
        if scope["method"] != "POST":
            return None
        origins = [v for k, v in headers if k == "origin"]
        if origins != [f"http://{hosts[0].lower()}"]:
            return 403, "only the page itself may ask for data: the Origin is another one"
        kinds = [v.split(";")[0].strip().lower() for k, v in headers if k == "content-type"]
        if kinds != ["application/json"]:
            return 415, "a request must be JSON: Content-Type: application/json"
        return None


async def whole(receive: Receive) -> bytes | None:
    """The body of a request; None as soon as it is too large, its length header aside."""
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


FILES = {
    "/": ("page.html", "text/html"),
    "/shared.css": ("shared.css", "text/css"),
    "/shared.js": ("shared.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/plot.js": ("plot.js", "text/javascript"),
}
"""Address -> file of this package, its type. No address is ever turned into a path."""
SHARED = ("shared.css", "shared.js")


def application(session: Session, port: int) -> Guard:
    """The ASGI application for one network, which answers on ``port`` of 127.0.0.1 alone."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    questions: dict[str, Callable[[Request], Answer]] = {
        "/model": lambda _: session.model(),
        "/look": session.look,
        "/worksheet": session.worksheet,
        "/save": lambda _: session.save(),
    }
    routes = [
        *(Route(path, _file(*file), methods=["GET"]) for path, file in FILES.items()),
        Route("/plotly.js", _plotly, methods=["GET"]),
        *(Route(path, _question(ask), methods=["POST"]) for path, ask in questions.items()),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: _unknown,
        InputError: _refused,
        Exception: _failed,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, port)


def content(name: str) -> str:
    """A file of the page, from the installed package."""
    if name in SHARED:
        return resource(name)
    return resources.files("grus.page").joinpath("static", name).read_text("utf-8")


@cache
def plotly_script() -> str:
    """Plotly's JavaScript, out of its Python package."""
    with needed_for("the page", "page"):
        from plotly.offline import get_plotlyjs
    return str(get_plotlyjs())


def _file(name: str, kind: str) -> Callable[[Asked], Response]:
    from starlette.responses import Response

    return lambda _: Response(content(name), media_type=kind)


def _plotly(_: Asked) -> Response:
    from starlette.responses import Response

    return Response(plotly_script(), media_type="text/javascript")


def _question(ask: Callable[[Request], Answer]) -> Callable[[Asked], Any]:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    async def answer(asked: Asked) -> Response:
        try:
            content = json.loads(await asked.body())
        except (ValueError, RecursionError):
            raise InputError("a request must be JSON") from None
        return JSONResponse(await run_in_threadpool(ask, parse(content)))

    return answer


async def _refused(_: Asked, error: Exception) -> Response:
    return _sentence(400, str(error))


async def _unknown(_: Asked, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    return _sentence(status, "there is no such page")


async def _failed(_: Asked, __: Exception) -> Response:
    return _sentence(500, "the page failed; the terminal that runs it says where")


def _sentence(status: int, why: str) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": why}, status)


HOST = "127.0.0.1"


def bound(port: int = 0) -> socket.socket:
    """A socket that listens on 127.0.0.1, on a free port for 0.

    Raises InputError where the port is taken or may not be used.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port must lie in 0..65535, got {port}")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(f"port {port} of {HOST} cannot be used: {error.strerror}") from None
    return listening


def check_installed() -> None:
    """Raise InputError naming the extra where a package that the page needs is absent."""
    with needed_for("the page"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    plotly_script()


def serve(session: Session, listening: socket.socket, *, browser: bool) -> None:
    """Answer until Ctrl-C; with ``browser`` the page is opened in it."""
    import uvicorn

    port = listening.getsockname()[1]
    config = uvicorn.Config(
        application(session, port),
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    if browser:
        Thread(target=webbrowser.open, args=(f"http://{HOST}:{port}/",), daemon=True).start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
