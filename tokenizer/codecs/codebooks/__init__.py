"""Codebooks of a codec: their sizes, and what is said of them."""
