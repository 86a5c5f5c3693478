"""Calls code of the user. What it raises must not stop the client."""

import logging

log = logging.getLogger("redlockd")


def call_user(name, function, *arguments):
    """Calls the function, and logs the exception if it raises one."""
    try:
        function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException:  # SystemExit would end the loop that serves all clients
        log.exception("%s raised an exception", name)
