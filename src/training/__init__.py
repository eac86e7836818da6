"""Model and batches to a stream of records. Nothing here knows a tracker, or what a task learns."""
