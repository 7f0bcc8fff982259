"""Stretches of time, half open, and how they add up: what was asked, what is empty, what is left."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import numpy as np

from market_data.core.interval import Interval, Stamps, aware, stamp


class Span(NamedTuple):
    """From the start of a bar (inclusive) to the start of another (exclusive), aware UTC."""

    start: datetime
    end: datetime


def union(*spans: Iterable[Span]) -> list[Span]:
    """Return what any of them covers: ascending, disjoint, and merged where one ends as the next begins."""
    merged: list[Span] = []
    for one in sorted(span for some in spans for span in some if span.start < span.end):
        if merged and one.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return merged


def subtract(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """Return what `spans` cover and `holes` do not, ascending and disjoint."""
    left: list[Span] = []
    cut = union(holes)
    first = 0
    for start, end in union(spans):
        while first < len(cut) and cut[first].end <= start:
            first += 1
        at, begin = first, start
        while at < len(cut) and cut[at].start < end:
            if begin < cut[at].start:
                left.append(Span(begin, cut[at].start))
            begin = max(begin, cut[at].end)
            at += 1
        if begin < end:
            left.append(Span(begin, end))
    return left


def intersect(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what both cover, ascending and disjoint."""
    whole = union(spans)
    return subtract(whole, subtract(whole, others))


def empty_spans(ts: Stamps, interval: Interval, span: Span) -> list[Span]:
    """Return where a span has no bars, given the starts of its bars (ascending, unique)."""
    start, end = stamp(span.start), stamp(span.end)
    inside = ts[(ts >= start) & (ts < end)]
    begins = np.concatenate([[start], interval.end(inside)])
    ends = np.concatenate([inside, [end]])
    return [Span(aware(begins[i]), aware(ends[i])) for i in np.flatnonzero(begins < ends)]


def runs_of(ts: Stamps, interval: Interval) -> list[Span]:
    """Return the spans that bars cover without a break, given their starts (ascending, unique)."""
    if not len(ts):
        return []
    ends = interval.end(ts)
    breaks = np.flatnonzero(ends[:-1] < ts[1:])
    firsts = np.concatenate([[0], breaks + 1])
    lasts = np.concatenate([breaks, [len(ts) - 1]])
    return [Span(aware(ts[first]), aware(ends[last])) for first, last in zip(firsts, lasts, strict=True)]
