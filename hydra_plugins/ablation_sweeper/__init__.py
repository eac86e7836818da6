"""The study sweeper, where Hydra looks for sweepers."""
