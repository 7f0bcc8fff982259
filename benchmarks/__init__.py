"""Speed of the bar path, as ratios to what PostgreSQL itself can do in the same run. See README.md here."""
