"""The study sweeper, in the package in which Hydra looks for sweepers."""
