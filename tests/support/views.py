"""The views that every home has, in the order of their names."""

VIEWS = [
    "v_coverage",
    "v_freshness",
    "v_growth",
    "v_instrument",
    "v_job",
    "v_latest",
    "v_price",
    "v_provider_budget",
    "v_rejection",
    "v_rejection_reason",
    "v_run",
    "v_series",
    "v_storage",
    "v_subscription",
]
