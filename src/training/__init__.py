"""Trains a model on batches and yields records. This room does not depend on a tracker or on a particular task."""
