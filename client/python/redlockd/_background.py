"""The event loop, on its own thread, that serves all thread-based clients of a process."""

import asyncio
import os
import threading

_guard = threading.Lock()
_loop = None
_thread = None


def loop():
    global _loop, _thread
    with _guard:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="redlockd", daemon=True)
            _thread.start()
        return _loop


def is_current():
    """Whether this is the loop's thread, which must not wait for itself."""
    return threading.current_thread() is _thread


def _forget():
    """Threads do not survive a fork."""
    global _guard, _loop, _thread
    _guard, _loop, _thread = threading.Lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
