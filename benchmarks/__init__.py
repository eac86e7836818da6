"""Speed and memory of a trial, as ratios measured side by side: these say what a change costs, tests do not."""
