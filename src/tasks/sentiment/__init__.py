"""Sentiment: a recurrent classifier assigns one label to each text of a corpus."""
