"""Batches of fixed shapes and CUDA graphs."""
