"""A recurrent language model: the probability of each word of a text, given the words before it."""
