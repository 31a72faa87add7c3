"""The encoder and decoder tile by tile, for CPUs."""
