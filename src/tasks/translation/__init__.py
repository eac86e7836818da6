"""Translation with attention."""
