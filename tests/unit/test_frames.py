"""Answers are kept in bounded memory, and those used last stay longest."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from market_data.api.frames import Frame, FrameCache

MOST = 100_000


def frame(size: int, token: str | None = None) -> Frame:
    return Frame(b"x" * size, token)


def filled(size: int, names: str) -> FrameCache:
    cache = FrameCache(MOST)
    for name in names:
        cache.put(name, frame(size))
    return cache


def kept(cache: FrameCache, names: str) -> str:
    """Which of these single-letter names are kept; asking counts as using them."""
    return "".join(name for name in names if cache.get(name) is not None)


def test_what_was_put_is_got():
    cache = FrameCache(MOST)
    assert cache.get("a") is None
    given_frame = frame(10, "next")
    cache.put("a", given_frame)
    assert cache.get("a") is given_frame
    assert cache.get("b") is None


def test_what_was_used_longest_ago_makes_room():
    cache = filled(24_000, "abcd")  # four fit, five do not
    assert cache.get("a") is not None
    cache.put("e", frame(24_000))
    assert kept(cache, "abcde") == "acde"
    assert kept(cache, "ca") == "ca"
    cache.put("f", frame(24_000))
    cache.put("g", frame(24_000))
    assert kept(cache, "acdefg") == "acfg"


def test_a_name_that_is_put_again_is_held_once():
    cache = filled(24_000, "abc")
    for _ in range(10):
        cache.put("a", frame(24_000))
    assert kept(cache, "abc") == "abc"


def test_one_answer_takes_no_more_than_a_quarter():
    cache = filled(10_000, "abc")
    assert cache.largest == MOST // 4
    cache.put("d", frame(MOST // 4 + 1))
    assert kept(cache, "abcd") == "abc"


def test_no_memory_keeps_nothing():
    cache = FrameCache(0)
    for size in (0, 1, 1000):
        cache.put(f"of {size}", frame(size))
        assert cache.get(f"of {size}") is None


_sizes = st.sampled_from([0, 1, 500, 5000, 24_000, 60_000])


@given(st.lists(st.tuples(st.integers(0, 40), _sizes), max_size=100))
def test_bodies_never_take_more_than_is_allowed(puts):
    cache = FrameCache(MOST)
    for number, size in puts:
        cache.get(str(number))
        cache.put(str(number), frame(size))
    held = [cache.get(str(number)) for number in range(41)]
    assert sum(len(one.body) for one in held if one is not None) <= MOST


def test_many_small_answers_take_bounded_memory():
    """Of many answers, most is names, tokens and objects: one without rows has no body at all."""
    for body, token_bytes in ((b"", 0), (b"ts\n", 0), (b"ts\n", 4000)):
        cache = FrameCache(MOST)
        tracemalloc.start()
        for number in range(5000):
            cache.put(f'"{number:032x}-csv-zstd"', Frame(body, "t" * token_bytes + str(number)))
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < 1.5 * MOST, (body, token_bytes)
