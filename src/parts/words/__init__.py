"""Texts as sequences of ids: how they are cut, padded and batched, and what a model reads of them."""
