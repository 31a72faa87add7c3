"""A codec, a source and a shard format, for `codecshards` to find by entry points."""
