"""From toggles to tracked trials."""
