"""Layouts in which text lies beside the audio, file by file or chapter by chapter."""
