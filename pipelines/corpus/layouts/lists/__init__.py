"""Layouts in which lists name the audio."""
