"""Sentiment: one label for a text, from an encoded corpus and a recurrent classifier."""
