"""Speak to a shard without a router: token ids in, token ids out.

    from shardline.client import Sampling, ShardClient

    with ShardClient.connect("/run/shardline/shard-0") as shard:
        for token in shard.generate([[504, 3575, 282]], max_new_tokens=8, sampling=Sampling(temperature=0)):
            print(token.prompt, token.id, token.finish)

Needs `pip install shardline[client]` (grpcio and protobuf 5 to 7).
"""

from shardline.client.client import Health, Info, Phase, ShardClient
from shardline.client.errors import InvalidRequest, ShardBusy, ShardError, ShardFailed, ShardUnavailable
from shardline.client.sampling import Grammar, Sampling
from shardline.client.schedule import Finish, Token

__all__ = [
    "Finish",
    "Grammar",
    "Health",
    "Info",
    "InvalidRequest",
    "Phase",
    "Sampling",
    "ShardBusy",
    "ShardClient",
    "ShardError",
    "ShardFailed",
    "ShardUnavailable",
    "Token",
]
