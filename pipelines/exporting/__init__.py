"""Codes as training programs of language models read them: documents of token ids."""
