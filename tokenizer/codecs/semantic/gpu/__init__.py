"""Windows of several recordings in batches of fixed shapes."""
