"""WebDataset shards: tar archives with four members a row."""
