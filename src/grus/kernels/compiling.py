"""One compilation at a time in a process."""

from __future__ import annotations

import os
import threading

compiling = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation under way: the child would inherit a lock that nobody opens.
    os.register_at_fork(
        before=compiling.acquire,
        after_in_parent=compiling.release,
        after_in_child=compiling.release,
    )
