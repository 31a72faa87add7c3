"""What a SOURCE may be beside a whole corpus: one audio file, and several sources at once."""
