"""Recordings of any length, piece by piece, for EnCodecs without chunks."""
