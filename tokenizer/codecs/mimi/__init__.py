"""Mimi, with the codes of transformers' MimiModel."""
