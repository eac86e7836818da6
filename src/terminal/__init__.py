"""What people see: texts that are safe to print, errors in one line, progress."""
