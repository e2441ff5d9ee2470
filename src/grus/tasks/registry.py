"""The tasks by name. A new one is a file of this folder and a line here."""

from typing import Any

from grus.tasks.classify import Classify
from grus.tasks.regress import Regress
from grus.tasks.task import Task

TASKS: dict[str, type[Task[Any, Any]]] = {kind.name: kind for kind in (Classify, Regress)}
