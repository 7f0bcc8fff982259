"""Market Data Backend Platform: prices in, exact and idempotent; prices out, fast."""

__version__ = "0.1.0"
