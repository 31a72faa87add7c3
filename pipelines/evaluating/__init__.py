"""The table of an evaluation: codecs and what they are compared with, at equal measured bitrates,
on excerpts that a seed draws."""
