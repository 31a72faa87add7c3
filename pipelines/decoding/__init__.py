"""Recordings of an output folder back to audio files, many at a time."""
