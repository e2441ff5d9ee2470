"""The page of `grus serve`: type text and watch a trained network read it, step by step.

In: a character model. Out: an ASGI application for one user on the same machine. Imports all rooms
below; torch and the server's packages inside functions only.
"""

from grus.page import server
from grus.page.character_network import SECONDS, from_model, small_model
from grus.page.session import Session

__all__ = ["SECONDS", "Session", "from_model", "server", "small_model"]
