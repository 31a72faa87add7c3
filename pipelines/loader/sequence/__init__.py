"""Which recording and which cut of it comes when: a function of (seed, position)."""
