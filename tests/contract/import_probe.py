"""Run in a process of its own: imports the modules that its arguments name, and tells what that did, as JSON."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

OURS = ("sluice", "services")
# Reading a mapping may pass through these before it reaches the one that asks.
_BETWEEN = frozenset({__name__, "os", "_collections_abc", "collections.abc"})


def watch_environment(readers: set[str]) -> None:
    """Add to `readers` the name of each of our modules that reads the environment."""
    kind: Any = type(os.environ)

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_globals.get("__name__") in _BETWEEN:
                frame = frame.f_back
            name = frame.f_globals.get("__name__", "") if frame is not None else ""
            if name.partition(".")[0] in OURS:
                readers.add(name)
            return method(*arguments)

        return noted

    for name in ("__getitem__", "__iter__", "__len__"):
        setattr(kind, name, noting(getattr(kind, name)))


def main(names: list[str]) -> None:
    """Import `names` and print threads, event loops, readers of the environment, and what else was imported."""
    readers: set[str] = set()
    watch_environment(readers)
    for name in names:
        importlib.import_module(name)
    loops = [one for one in gc.get_objects() if issubclass(type(one), asyncio.AbstractEventLoop)]
    told = {
        "threads": [thread.name for thread in threading.enumerate()],
        "loops": len(loops),
        "readers": sorted(readers),
        "modules": sorted(sys.modules),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
