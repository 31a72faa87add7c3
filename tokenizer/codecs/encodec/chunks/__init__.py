"""Full chunks of a codec with norms, on a CPU with the bits of transformers."""
