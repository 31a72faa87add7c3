"""Shards to training batches. Needs neither Ray nor a codec.

data set (random access) → stream (order, mix, cuts) → planner (which rows share a batch) → collator
(pattern, tensors)
"""
