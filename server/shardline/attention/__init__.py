"""Attention over a paged KV cache: a seam of few methods with interchangeable backends."""
