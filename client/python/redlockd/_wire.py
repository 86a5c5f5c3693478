"""Converts between the messages of the gRPC API and the values of this library."""

import re
from typing import Any, Optional

from ._keys import Key
from ._proto import pb, rpc
from .errors import KindMismatch, LockError, make_error

__all__ = ["error_of", "pb", "reason_of_details", "seconds", "set_duration", "set_keep_for", "set_published",
           "set_retry"]

# The reasons that name the holder, and what the message says after that.
_HELD = {"LOCK_ALREADY_HELD": "", "MAX_RETRIES_EXCEEDED": "; the retries are used up",
         "DEADLINE_EXCEEDED": "; the lock was not acquired within the wait"}
_OUTAGES = ("QUORUM_UNAVAILABLE", "NODE_SET_MISMATCH")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def set_duration(field: Any, seconds: float) -> None:
    field.seconds, field.nanos = divmod(round(seconds * 1e9), 10**9)
    field.SetInParent()  # also if it is 0


def seconds(field: Any) -> float:
    return field.seconds + field.nanos / 1e9  # type: ignore[no-any-return]


def set_retry(request: Any, retry: Any) -> None:
    """Writes a RetryPolicy; its unset fields have the daemon's defaults."""
    if retry is None:
        return
    if retry.max_retries is not None:
        request.retry.max_retries = retry.max_retries
    if retry.min_delay is not None:
        set_duration(request.retry.min_delay, retry.min_delay)
    if retry.max_jitter is not None:
        set_duration(request.retry.max_jitter, retry.max_jitter)


def set_published(request: Any, acquire: Any) -> None:
    """Writes the value and the lock_delay of an acquisition."""
    request.value = acquire.value
    if acquire.lock_delay > 0:
        set_duration(request.lock_delay, acquire.lock_delay)


def set_keep_for(request: Any, keep_for: Optional[float]) -> None:
    if keep_for is not None:
        set_duration(request.keep_for, keep_for)


def error_of(status: Any, key: Key) -> LockError:
    """The error of an OperationStatus."""
    retry = seconds(status.retry_delay) if status.HasField("retry_delay") else None
    return _error(status.reason, status.message, key, retry, status.metadata)


def not_in_time(key: Key, metadata: Any) -> LockError:
    """The error of an acquire whose wait is over, by the metadata with which the daemon cancelled it.
    An outage must not read as contention."""
    last = metadata.get("last_reason", "")
    if last in _OUTAGES:
        return make_error(last, f"{key}: the lock was not acquired within the wait: {last}")
    return _error("DEADLINE_EXCEEDED", "the lock was not acquired within the wait", key, None, metadata)


def _held(holder: Optional[str], held_for: Optional[float]) -> str:
    """'held by "crew 3" for 12.345 s', as far as it is known; "" if nothing is."""
    if holder is None and held_for is None:
        return ""
    return "held" + ("" if holder is None else f' by "{holder}"') + ("" if held_for is None else f" for {held_for:.3f} s")


def _error(reason: str, message: str, key: Key, retry: Optional[float], metadata: Any) -> LockError:
    holder = metadata.get("owner") or None
    held_for = float(metadata["held_for"]) if _SECONDS.fullmatch(metadata.get("held_for", "")) else None
    text = f"{key}: {message}"
    # The daemon's own message says more about a holder without a label.
    held = _held(holder, held_for) if holder is not None or reason == "DEADLINE_EXCEEDED" else ""
    if held and reason in _HELD:
        text = f"{key}: {held}{_HELD[reason]}"
    if reason == "KIND_MISMATCH":
        in_use_as = metadata.get("in_use_as") or None
        if in_use_as is not None:
            text = f"{key}: the key is in use as {in_use_as}; use it in the same way, or another key"
        return KindMismatch(reason, text, retry, holder, in_use_as, held_for)
    return make_error(reason, text, retry, holder, held_for)


def reason_of_details(details: Optional[bytes]) -> Any:
    """(reason, metadata, retry delay) of a google.rpc.Status; reason "" if there is none."""
    reason, metadata, retry = "", {}, None
    for detail in rpc.Status.FromString(details or b"").details:
        kind = detail.type_url.rpartition("/")[2]
        if kind == "google.rpc.ErrorInfo":
            info = rpc.ErrorInfo.FromString(detail.value)
            reason, metadata = info.reason, dict(info.metadata)
        elif kind == "google.rpc.RetryInfo":
            retry = seconds(rpc.RetryInfo.FromString(detail.value).retry_delay)
    return reason, metadata, retry


def error_of_details(details: Optional[bytes], message: str, key: Key) -> Optional[LockError]:
    """The error of a unary call that the daemon has answered; None if no daemon did."""
    reason, metadata, retry = reason_of_details(details)
    if not reason:
        return None
    if reason in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return not_in_time(key, metadata)
    return _error(reason, message, key, retry, metadata)
