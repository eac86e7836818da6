"""Trains, records and compares trials of toggles."""

from src import environment

environment.prepare()
