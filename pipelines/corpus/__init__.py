"""From a corpus to samples: sources list recordings, a reader in a process of its own decodes
them."""
