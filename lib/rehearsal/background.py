"""Watching something in a thread of its own while it runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watched(watch: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Run `watch(*arguments, done)` beside the body, and wait for its return after the body's end.

    Args:
        watch: looks now and then until `done`, a threading.Event, is set.
        arguments: its others.
    """
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(*arguments, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
