"""What a client may do wrong beyond the form of a message."""

from __future__ import annotations


class ProtocolError(ValueError):
    """A frame that contradicts what the shard holds. Ends the session, not the process."""
