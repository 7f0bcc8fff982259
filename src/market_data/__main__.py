"""`python -m market_data`: the `market-data` command."""

from market_data.cli import main

if __name__ == "__main__":
    main()
