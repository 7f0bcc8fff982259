"""Answers are kept in bounded memory, and those used last stay longest."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from market_data.api.frames import Frame, FrameCache


def frame(size: int, token: str | None = None) -> Frame:
    return Frame(b"x" * size, token)


def kept(cache: FrameCache, names: str) -> str:
    """Which of these single-letter names are kept, asked without using them."""
    return "".join(name for name in names if name in cache._frames)


def filled(size: int, names: str, most: int = 100_000) -> FrameCache:
    cache = FrameCache(most)
    for name in names:
        cache.put(name, frame(size))
    return cache


def test_what_was_put_is_got():
    cache = FrameCache(100_000)
    assert cache.get("a") is None
    given_frame = frame(10, "next")
    cache.put("a", given_frame)
    assert cache.get("a") is given_frame
    assert cache.get("b") is None


def test_what_was_used_longest_ago_makes_room():
    cache = filled(20_000, "abcd")
    assert cache.get("a") is not None
    cache.put("e", frame(20_000))
    assert kept(cache, "abcde") in {"acde", "abcde"}  # four with what is counted around a body, else five
    cache.put("f", frame(20_000))
    assert "a" in kept(cache, "abcdef")
    assert "b" not in kept(cache, "abcdef")


def test_a_name_is_put_once():
    cache = filled(20_000, "a")
    cache.put("a", frame(1))
    assert len(cache.get("a").body) == 20_000
    for _ in range(10):
        cache.put("a", frame(20_000))
    cache.put("b", frame(20_000))
    assert kept(cache, "ab") == "ab"


def test_one_answer_takes_no_more_than_a_quarter():
    cache = filled(10_000, "abc")
    assert cache.largest == 25_000
    cache.put("d", frame(25_001))
    assert kept(cache, "abcd") == "abc"


def test_no_memory_keeps_nothing():
    cache = FrameCache(0)
    for size in (0, 1, 1000):
        cache.put(f"of {size}", frame(size))
        assert cache.get(f"of {size}") is None


@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0, 1, 500, 5000, 30_000, 60_000])), max_size=300)
)
def test_bodies_never_take_more_than_is_allowed(puts):
    cache = FrameCache(100_000)
    for number, size in puts:
        cache.get(str(number))
        cache.put(str(number), frame(size))
        assert sum(len(one.body) for one in cache._frames.values()) <= 100_000


def test_many_small_answers_take_bounded_memory():
    """Of many frames, most is names, tokens and objects: an answer without rows has no body at all."""
    for body, token in ((b"", None), (b"ts\n", None), (b"ts\n", "t" * 4000)):
        cache = FrameCache(100_000)
        for number in range(5000):
            cache.put(f'"{number:032x}-csv-zstd"', Frame(body, token))
        held = cache._frames
        told = sum(len(one.next_page_token or "") for one in held.values())
        taken = told + sum(sys.getsizeof(name) + sys.getsizeof(one.body) for name, one in held.items())
        assert taken <= 100_000, (len(held), body, token and len(token))
