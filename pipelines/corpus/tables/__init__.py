"""Tables as corpora have them: their lines, their columns, and the values in them."""
