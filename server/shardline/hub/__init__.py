"""Finds or fetches a model's files: their path is what `shardline-server serve` takes.

cli → download, demo
download → settings, select, cache, progress, errors
none of them imports torch; cli and demo do not import huggingface_hub either
"""
