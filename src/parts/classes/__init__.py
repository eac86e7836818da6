"""Classification tasks: their toggle and their measures."""
