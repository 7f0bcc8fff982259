"""Archives that are damaged, misleading or larger than they say."""

import io
import zipfile

import numpy as np
import pytest

from market_data.etl import packed
from market_data.etl.packed import LIMIT, only_member

TEXT = b"1,2\n" * 5000


def archive(kind: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", kind) as made:
        for name, content in (members or {"a.csv": TEXT}).items():
            made.writestr(name, content)
    return found.getvalue()


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_table_is_taken_out_whole(kind):
    assert only_member(archive(kind, **{"dir/A.CSV": TEXT, "readme.txt": b"x"})) == TEXT
    assert only_member(archive(kind, **{"dir/A.CSV": TEXT}), "a.csv") == TEXT


@pytest.mark.parametrize("size", [10_000, 19_999])
def test_an_archive_may_not_unfold_without_bounds(monkeypatch, size):
    assert LIMIT == 64 * 1024 * 1024
    monkeypatch.setattr(packed, "LIMIT", size)
    with pytest.raises(ValueError, match=f"more than {size} bytes"):
        only_member(archive())
    monkeypatch.setattr(packed, "LIMIT", 20_000)
    assert only_member(archive()) == TEXT


def test_no_more_is_unfolded_than_allowed(monkeypatch):
    """What the archive says of its size is not believed: here it understates a bomb."""
    monkeypatch.setattr(packed, "LIMIT", 10_000)
    bomb = archive(**{"a.csv": bytes(50_000_000)})
    lying = bomb.replace((50_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    assert lying != bomb
    with pytest.raises(ValueError):
        only_member(lying)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no archive"),
        (b"<html>", "no archive"),
        (archive(**{"a.txt": b"x"}), "0 tables"),
        (archive(**{"a.csv": b"x", "b.csv": b"y"}), "2 tables"),
        (archive(zipfile.ZIP_BZIP2), "compression of kind 12"),
        (archive(zipfile.ZIP_LZMA), "compression of kind 14"),
        (
            archive().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
            "encrypted",
        ),
    ],
)
def test_what_is_no_table_is_named(body, words):
    with pytest.raises(ValueError, match=words):
        only_member(body)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"'a\.csv' in an archive of 'b\.csv'"):
        only_member(archive(), "b.csv")


def test_a_damaged_archive_is_a_value_error_and_never_other_data():
    chance = np.random.default_rng(1)
    whole = archive(**{"a.csv": chance.bytes(2000)})
    content = only_member(whole)
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.integers(1, 4)):
            damaged[chance.integers(len(damaged))] = chance.integers(256)
        try:
            assert only_member(bytes(damaged)) == content
        except ValueError:
            continue
