"""The messages of `shardline.v1`, made from descriptors instead of generated code.

Generated code loads only with the protobuf release that it was generated for; classes made from the
descriptors (`descriptors.binpb`, a FileDescriptorSet of proto/shardline/v1/shard.proto that a test
keeps up to date) load with every one from 5 to 7.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

MAX_MESSAGE_BYTES = 64 << 20
SERVICE = "shardline.v1.Shard"


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of our own: another package's messages of the same name do not matter."""
    encoded = files("shardline.client").joinpath("descriptors.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(encoded).file:
        pool.Add(file)
    return pool


def message_class(name: str) -> type[Message]:
    """The class of a message of `shardline.v1`, as in `message_class("StepRequest")`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"shardline.v1.{name}"))
