"""Entropy-coded shards (`.csa`), for storage and transfer. `docs/archive.md` has every byte."""
