"""The `market-data` command."""

from market_data.cli.app import main

__all__ = ["main"]
