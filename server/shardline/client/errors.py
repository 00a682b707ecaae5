"""What can go wrong between a client and a shard."""

from __future__ import annotations

import grpc


class ShardError(Exception):
    """Anything a shard refuses or fails at. The message says what, the limit and the given value."""


class ShardUnavailable(ShardError):
    """Nobody listens, the shard is not ready yet, or it shuts down."""


class ShardBusy(ShardError):
    """Another client's session lives: a shard serves one at a time (a router, as a rule)."""


class InvalidRequest(ShardError, ValueError):
    """The request cannot be right: refused by this client before it was sent, or by the shard."""


class ShardFailed(ShardError):
    """The shard broke off the session; the message is its cause."""


_BY_CODE: dict[grpc.StatusCode, type[ShardError]] = {
    grpc.StatusCode.UNAVAILABLE: ShardUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: ShardUnavailable,
    grpc.StatusCode.ALREADY_EXISTS: ShardBusy,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
}


def from_rpc(error: grpc.RpcError, address: str) -> ShardError:
    """The typed form of a failed call to `address`."""
    kind = _BY_CODE.get(error.code(), ShardFailed) if isinstance(error, grpc.Call) else ShardFailed
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    return kind(f"{address}: {details}")
