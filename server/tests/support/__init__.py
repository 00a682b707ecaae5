"""What tests of the shard share: a client that makes frames in Python, and tiny models."""
