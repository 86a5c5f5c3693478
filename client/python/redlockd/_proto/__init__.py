"""The messages of the gRPC API: pb.NAME and rpc.NAME for those of redlock.v1 and of google.rpc.

make-stubs generates the descriptors from the proto. They are in a descriptor pool of their own, so
that stubs which the program has generated from the same proto, of whatever version, and other
packages with google.rpc do not collide with them.
"""

import pkgutil
import types
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    data = pkgutil.get_data(__name__, "descriptors.binpb")
    assert data is not None
    files = descriptor_pb2.FileDescriptorSet.FromString(data)
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool, files


def _class_maker(pool: Any) -> Any:
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass
    return getattr(message_factory, "MessageFactory")(pool).GetPrototype  # before protobuf 4.22


def _namespaces() -> Any:
    pool, files = _load()
    make = _class_maker(pool)
    spaces: Any = {}
    for file in files.file:
        space = spaces.setdefault(file.package, types.SimpleNamespace())
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
            setattr(space, message.name, make(descriptor))
        for enum in file.enum_type:
            for value in enum.value:
                setattr(space, value.name, value.number)
    return spaces


_spaces = _namespaces()
pb: Any = _spaces["redlock.v1"]
rpc: Any = _spaces["google.rpc"]
