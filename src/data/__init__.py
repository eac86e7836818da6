"""From texts to batches: corpus → words → encoded splits (cached) → truncated sequences → tf.data batches."""
