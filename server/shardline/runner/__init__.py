"""From a frame to its outcome: the persistent batch and the loop."""
