"""Which tokens a sequence's grammar allows next: the engine's place in a step, and its seam."""
