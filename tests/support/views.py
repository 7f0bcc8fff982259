"""The views that every home has, in the order of their names."""

VIEWS = [
    "v_freshness",
    "v_growth",
    "v_instrument",
    "v_latest",
    "v_price",
    "v_rejection",
    "v_rejection_reason",
    "v_run",
    "v_series",
    "v_storage",
]
