"""What every room stands on: this machine and its processes, stores, terminals, words. Knows
nothing of codecs or corpora."""
