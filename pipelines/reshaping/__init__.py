"""From output folders to new ones, row by row and never encoded again: filter, split, merge,
reshard."""
