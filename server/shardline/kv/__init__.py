"""How much KV cache there is."""
