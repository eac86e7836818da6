"""Text to batches: corpus → words → encoded splits (cached) → cut sequences → tf.data batches."""
