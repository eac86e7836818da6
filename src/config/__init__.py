"""From what was typed to settings: command lines, study files, and the answers to what cannot be used."""
