"""Converts between the messages of the gRPC API and the values of this library."""

from google.protobuf.duration_pb2 import Duration
from redlock.v1 import lock_service_pb2 as pb

from .errors import make_error

__all__ = ["duration", "error_of", "pb", "seconds"]


def duration(seconds):
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds(message):
    return message.seconds + message.nanos / 1e9


def error_of(status):
    retry = seconds(status.retry_delay) if status.HasField("retry_delay") else None
    return make_error(status.reason, status.message, retry)
