"""From user input to settings: command lines, study files, and error messages."""
