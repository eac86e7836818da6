"""What several tasks share: toggles with their rules, sizes and layers, a room or a file for each part."""
