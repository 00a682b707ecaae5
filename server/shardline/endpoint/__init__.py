"""The shard's side of the wire: frames in, outcomes out. The server itself is native."""
