"""Output folders as archives, smaller by what codes tell of each other, and back."""
