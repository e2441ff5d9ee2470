"""The application that `grus serve` runs: four fixed files and three questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from grus.errors import InputError, needed_for
from grus.page.guard import Guard
from grus.page.request import Request, parse
from grus.page.session import Answer, Session

if TYPE_CHECKING:
    from starlette.requests import Request as Asked
    from starlette.responses import Response

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/plot.js": ("plot.js", "text/javascript"),
}
"""Address -> file of this package, its type. No address is ever turned into a path."""


def application(session: Session, port: int) -> Guard:
    """The ASGI application for one network, which answers on ``port`` of 127.0.0.1 alone."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    questions: dict[str, Callable[[Request], Answer]] = {
        "/model": lambda _: session.model(),
        "/look": session.look,
        "/worksheet": session.worksheet,
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
            given = json.loads(await asked.body())
        except (ValueError, RecursionError):
            raise InputError("a request must be JSON") from None
        return JSONResponse(await run_in_threadpool(ask, parse(given)))

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
