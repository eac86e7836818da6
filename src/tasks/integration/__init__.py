"""Integration: whether the sum of white noise is above a threshold, drawn while it trains."""
