"""From toggles to tracked trials."""

from src import environment

environment.prepare()
