"""Shards without a manifest: a copy of `data/` alone, or a data set on the Hub."""
