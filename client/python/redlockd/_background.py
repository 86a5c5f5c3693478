"""The event loop, on its own thread, that serves all thread-based clients of a process."""

import asyncio
import logging
import os
import threading
from typing import Any, Dict, Optional

log = logging.getLogger("redlockd")

_guard = threading.Lock()
_loop: Optional[asyncio.AbstractEventLoop] = None
_thread: Optional[threading.Thread] = None


def loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    if _loop is not None:
        return _loop
    with _guard:
        if _loop is None:
            made = asyncio.new_event_loop()
            made.set_exception_handler(_log)
            _thread = threading.Thread(target=made.run_forever, name="redlockd", daemon=True)
            _thread.start()
            _loop = made
        return _loop


def _log(loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
    """Logs what asyncio would print. If several loops use gRPC, some of them find that another has read the message
    already; that is not an error."""
    error = context.get("exception")
    if not isinstance(error, BlockingIOError):
        log.error("unexpected error: %s", context.get("message"), exc_info=error)


def is_current() -> bool:
    """Whether this is the loop's thread, which must not wait for itself."""
    return threading.current_thread() is _thread


def _forget() -> None:
    """Threads do not survive a fork."""
    global _guard, _loop, _thread
    _guard, _loop, _thread = threading.Lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
