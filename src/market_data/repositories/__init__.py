"""The only place that speaks SQL to the tables."""
