"""Integration: is the sum of white noise above a threshold? The noise is drawn during training."""
