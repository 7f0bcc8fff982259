"""How homes are found and kept: without a download and without a server."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.homes import cache, debian, timescale_apache
from tests.homes.home import Homes
from tests.homes.unavailable import Unavailable

URIS = """\
'http://mirror.test/debian/dists/bookworm/InRelease' mirror.test_InRelease 0
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.test_Packages 0
'http://mirror.test/debian/dists/bookworm/main/binary-all/Packages.xz' mirror.test_Packages 0
'http://mirror.test/debian/dists/bookworm-updates/main/binary-amd64/Packages.xz' mirror.test_Packages 0
'http://mirror.test/debian-security/dists/bookworm-security/main/binary-amd64/Packages.xz' security 0
'cdrom:[Debian]/dists/bookworm/main/binary-amd64/Packages.xz' disc 0
'mirror+file:/etc/apt/mirrors/debian.list/dists/bookworm/main/binary-amd64/Packages.xz' list 0
'https://engine.test/linux/debian/dists/bookworm/stable/binary-amd64/Packages.bz2' engine 0
"""


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "market-data-tests"


def test_mirrors_are_those_of_the_machine_that_hold_whole_suites():
    assert debian.mirrors_of(URIS) == [
        "http://mirror.test/debian",
        "mirror+file:/etc/apt/mirrors/debian.list",
    ]


def test_without_apt_there_is_a_reason(monkeypatch, tmp_path, kept):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(timescale_apache, "ZONES", tmp_path)
    with pytest.raises(Unavailable, match=r"apt-get is missing"), timescale_apache.server(tmp_path):
        pass
    assert [path.name for path in kept.iterdir()] == ["lock"]


def test_what_apt_says_is_the_reason(tmp_path):
    says = "import sys; sys.exit('W: slow\\nE: no such suite\\nE: and more')"
    with pytest.raises(Unavailable, match=r": E: no such suite$"):
        debian.run([sys.executable, "-c", says])


def test_an_interrupted_folder_is_made_anew(kept):
    def fail(staging, lock):
        (staging / "half").touch()
        raise KeyboardInterrupt

    def make(staging, lock):
        (staging / "whole").mkdir()
        return staging / "whole"

    with pytest.raises(KeyboardInterrupt):
        cache.folder_of("one", fail)
    (kept / "new-killed" / "deep").mkdir(parents=True)
    assert cache.folder_of("one", make) == kept / "one"
    assert sorted(path.name for path in kept.iterdir()) == ["lock", "one"]
    assert cache.folder_of("one", fail) == kept / "one"


MAKER = """
import os
from tests.homes import cache

def make(staging, lock):
    print("made")
    (staging / "root").mkdir()
    return staging / "root"

cache.folder_of("shared", make)
"""


def test_processes_at_once_make_it_once(kept):
    command = [sys.executable, "-c", MAKER]
    where = Path(__file__).parents[2]
    makers = [subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [maker.communicate()[0] for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * 4
    assert sorted(said) == ["", "", "", "made\n"]


async def test_a_home_that_cannot_be_had_is_tried_once(tmp_path):
    tried = []

    @contextmanager
    def absent(folder):
        tried.append(folder)
        raise Unavailable("not here")
        yield

    with Homes(tmp_path, {"absent": absent}) as homes:
        for _ in range(2):
            with pytest.raises(Unavailable, match="not here"):
                await homes.get("absent")
    assert tried == [tmp_path / "absent"]
