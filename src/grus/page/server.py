"""The server of the page: one socket on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import socket
import webbrowser
from threading import Thread

from grus.errors import InputError, needed_for
from grus.page.app import application, plotly_script
from grus.page.session import Session

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
        return  # the way to end it
