"""Entropy coding of codes: what predicts them, and what turns predictions into bits. Integers only,
so that what one machine has written every other one reads."""
