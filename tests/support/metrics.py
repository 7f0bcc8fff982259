"""Reading figures as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from market_data.core import metrics


def samples(text: str) -> dict[tuple[str, frozenset], float]:
    """Return each value of a text by name and labels."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(name: str, text: str | None = None, **labels: str) -> float:
    """Return a value of a text, or of this process; 0 where there is none."""
    text = metrics.render([])[0].decode() if text is None else text
    return samples(text).get((name, frozenset(labels.items())), 0.0)
