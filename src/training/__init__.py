"""Model and batches to a stream of records. Nothing here knows a tracker, a file or a terminal."""
