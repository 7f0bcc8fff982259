"""Pairs of assets as Binance writes them, without a sign between the two."""

_QUOTES = (
    *("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USDP", "USD1", "USDS", "USDE", "DAI", "AEUR", "EURI"),
    *("BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT"),
    *("EUR", "GBP", "JPY", "TRY", "BRL", "AUD", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON", "ARS", "MXN"),
    *("COP", "CZK", "IDRT", "BIDR", "BKRW", "BVND", "VAI"),
)
"""Of all that Binance quotes in, those that cannot be mistaken for the end of another asset."""


def quote_asset(pair: str) -> str | None:
    """Return what a pair such as `BTCUSDT` is priced in; None where its end names no quote asset."""
    return max((q for q in _QUOTES if pair.endswith(q) and pair != q), key=len, default=None)
