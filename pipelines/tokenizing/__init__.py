"""From samples to a shard: jobs, batches of chunks, encoders, and what is shown meanwhile."""
