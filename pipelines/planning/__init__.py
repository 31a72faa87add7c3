"""A dry run: what a corpus is, and what it would become."""
