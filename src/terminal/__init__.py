"""Output for people: text that is safe to print, errors in one line, progress."""
