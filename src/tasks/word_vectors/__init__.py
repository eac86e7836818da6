"""Word vectors: skip-gram, continuous bag of words, and counting."""
