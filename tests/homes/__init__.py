"""Homes: the database servers on which the integration suite runs (docs/decisions/0019)."""
