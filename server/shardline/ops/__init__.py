"""The products of a decoder layer, fused as far as a backend can fuse them."""
