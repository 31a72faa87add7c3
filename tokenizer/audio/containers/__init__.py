"""What a file says of itself, read without decoding it."""
