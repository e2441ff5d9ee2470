"""Small finished models built on the layers. In: text. Out: trained models. Imports torch.

`settings` and `corpus` hold the settings, the text and the architecture, and need no torch;
`language` is the model, `train` the loop, `run` the state that the loop changes, `checkpoint` and
`run_files` its files, `evaluation` measures it and writes text with it, `memory_tasks` two tasks of
memory. Each name is loaded when it is first asked for, so that torch is loaded only where needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.models.batches import Streams
    from grus.models.checkpoint import Checkpoint
    from grus.models.corpus import BUILT_IN, Architecture, Source, Text, Vocabulary, decoded, read
    from grus.models.evaluation import bits, mean_loss, readable, sample
    from grus.models.kept_run import BEST, LAST
    from grus.models.language import LanguageModel, hold_model
    from grus.models.memory_tasks import TASKS, Task, TaskModel, TaskRun, held_out
    from grus.models.optimizers import make_optimizer
    from grus.models.run import Metrics, Run
    from grus.models.run_files import read_metrics
    from grus.models.settings import LEARNING_RATES, Settings
    from grus.models.train import DivergedError, Trainable, learn, threads

_NAMES = {
    "batches": "Streams",
    "checkpoint": "Checkpoint",
    "evaluation": "bits mean_loss readable sample",
    "language": "LanguageModel hold_model",
    "kept_run": "BEST LAST",
    "optimizers": "make_optimizer",
    "run": "Metrics Run",
    "settings": "LEARNING_RATES Settings",
    "run_files": "read_metrics",
    "memory_tasks": "TASKS Task TaskModel TaskRun held_out",
    "corpus": "BUILT_IN Architecture Source Text Vocabulary decoded read",
    "train": "DivergedError Trainable learn threads",
}
_FILES = {name: file for file, names in _NAMES.items() for name in names.split()}
__all__ = [
    "BEST", "BUILT_IN", "LAST", "LEARNING_RATES", "TASKS", "Architecture", "Checkpoint",
    "DivergedError", "LanguageModel", "Metrics", "Run", "Settings", "Source", "Streams", "Task",
    "TaskModel", "TaskRun", "Text", "Trainable", "Vocabulary", "batches", "bits", "checkpoint",
    "corpus", "decoded", "held_out", "hold_model", "kept_run", "learn",
    "make_optimizer", "mean_loss", "read", "read_metrics", "readable", "run", "sample", "threads",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"grus.models.{_FILES[name]}"), name)
    raise AttributeError(f"module 'grus.models' has no attribute {name!r}")
