"""Texts as sequences of ids: truncation, padding, batching, and the encoding that a model reads."""
