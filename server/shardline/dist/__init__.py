"""The ranks of one shard group."""
