"""Speed and memory, measured as ratios side by side. Tests do not measure what a change costs; these benchmarks do."""
