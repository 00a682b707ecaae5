"""The shard: one process that runs a model for the router.

Packages and who may know whom (enforced by `server/tests/test_architecture.py`):

    cli → config, serve
    serve → assembly, endpoint; assembly → start and everything below
    start → config, runner and everything below
    runner → endpoint, models, attention, kv, sampling, dist, layers, ops
    models → layers, attention.base, weights, dist
    layers → ops.base, weights, dist
    attention, sampling, kv, ops, weights, dist → nothing of ours but themselves and their bases
"""

from __future__ import annotations
