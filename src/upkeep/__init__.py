"""Whole studies deleted, renamed, merged and pruned. Each change is described before it is made, and can be repeated.

The journals in `outputs/` are the source of every record, and MLflow replays them. So a change of a study first states
what it means for both; MLflow changes first, and the folder last, as one step: until then the command can be repeated.
"""
