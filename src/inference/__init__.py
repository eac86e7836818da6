"""What differences between two variants show: pure statistics for the sweep and the analysis, on NumPy and SciPy."""
