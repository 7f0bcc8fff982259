"""One file for each provider; see docs/adding-a-provider.md."""
