"""Vendor-free steps from `RawBars` to valid `Bars`: localise, label, settle, validate, de-duplicate."""
