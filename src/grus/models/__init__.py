"""Small finished models built on the layers. In: text. Out: trained models. Imports torch.

`settings` and `text` say what a model is, how it is trained and on what, and need no torch;
`language` is the model, `train` the loop, `run` what the loop changes, `checkpoint` and `storage`
its files, `evaluate` what it is good for, `tasks` two tasks of memory. Each name is loaded when it
is first asked for, so that what needs no torch loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.models.batches import Streams
    from grus.models.checkpoint import Checkpoint
    from grus.models.evaluate import bits, mean_loss, readable, sample
    from grus.models.language import LanguageModel, hold_model
    from grus.models.run import BEST, LAST, DivergedError, Metrics, Run, make_optimizer
    from grus.models.settings import LEARNING_RATES, Settings
    from grus.models.storage import read_metrics
    from grus.models.tasks import TASKS, Task, TaskModel, TaskRun, held_out
    from grus.models.text import BUILT_IN, Architecture, Source, Text, Vocabulary, decoded, read
    from grus.models.train import Trainable, learn, threads

_NAMES = {
    "batches": "Streams",
    "checkpoint": "Checkpoint",
    "evaluate": "bits mean_loss readable sample",
    "language": "LanguageModel hold_model",
    "run": "BEST LAST DivergedError Metrics Run make_optimizer",
    "settings": "LEARNING_RATES Settings",
    "storage": "read_metrics",
    "tasks": "TASKS Task TaskModel TaskRun held_out",
    "text": "BUILT_IN Architecture Source Text Vocabulary decoded read",
    "train": "Trainable learn threads",
}
_FILES = {name: file for file, names in _NAMES.items() for name in names.split()}
__all__ = [
    "BEST",
    "BUILT_IN",
    "LAST",
    "LEARNING_RATES",
    "TASKS",
    "Architecture",
    "Checkpoint",
    "DivergedError",
    "LanguageModel",
    "Metrics",
    "Run",
    "Settings",
    "Source",
    "Streams",
    "Task",
    "TaskModel",
    "TaskRun",
    "Text",
    "Trainable",
    "Vocabulary",
    "batches",
    "bits",
    "checkpoint",
    "decoded",
    "held_out",
    "hold_model",
    "learn",
    "make_optimizer",
    "mean_loss",
    "read",
    "read_metrics",
    "readable",
    "run",
    "sample",
    "text",
    "threads",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"grus.models.{_FILES[name]}"), name)
    raise AttributeError(f"module 'grus.models' has no attribute {name!r}")
