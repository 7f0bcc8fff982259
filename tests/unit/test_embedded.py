"""The parts of the embedded server that need no server."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from market_data.core.exceptions import ConfigurationError, DatabaseUnavailable
from market_data.db.embedded import (
    EmbeddedServer,
    binaries,
    cluster,
    folder,
    locks,
    postmaster,
    privileges,
)
from market_data.db.embedded.binaries import Binaries
from market_data.db.embedded.folder import Folder
from market_data.db.embedded.postmaster import Patience
from market_data.db.embedded.privileges import Account
from market_data.db.embedded.probe import Answer, State, ask, claims


@pytest.fixture
def made(tmp_path) -> Folder:
    return folder.create(tmp_path)


def fake_programs(parent: Path, version: str) -> Path:
    bin_dir = parent / version / "bin"
    bin_dir.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        program = bin_dir / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return bin_dir


def made_by(parent: Path, major: str) -> Path:
    (parent / "PG_VERSION").write_text(f"{major}\n")
    return parent


class TestBinaries:
    @pytest.mark.parametrize(
        ("line", "major"),
        [
            ("postgres (PostgreSQL) 18.6", 18),
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", 15),
            ("postgres (PostgreSQL) 19beta1", 19),
            ("mysqld 8", None),
        ],
    )
    def test_major_is_read_from_the_version_line(self, line, major):
        assert binaries.parse_major(line) == major

    def test_versions_are_ordered_as_numbers(self):
        folders = [Path(f"/usr/lib/postgresql/{n}/bin") for n in ("9.6", "17", "9.10", "18")]
        assert [f.parent.name for f in binaries.newest_first(folders)] == ["18", "17", "9.10", "9.6"]

    def test_the_first_finder_wins_for_a_new_cluster(self, tmp_path):
        first, second = fake_programs(tmp_path, "17.1"), fake_programs(tmp_path, "18.1")
        chosen = binaries.select(tmp_path / "cluster", [lambda: [first], lambda: [second]])
        assert chosen == Binaries(first, 17)
        assert chosen.program("psql") == first / "psql"

    def test_a_cluster_gets_its_own_major_from_a_later_finder(self, tmp_path):
        first, second = fake_programs(tmp_path, "18.1"), fake_programs(tmp_path, "17.1")
        made_by(tmp_path, "17")
        assert binaries.select(tmp_path, [lambda: [first], lambda: [second]]).bin_dir == second

    def test_another_major_is_refused_with_the_ways_out(self, tmp_path):
        programs = fake_programs(tmp_path, "18.1")
        with pytest.raises(DatabaseUnavailable) as refusal:
            binaries.select(made_by(tmp_path, "16"), [lambda: [programs]])
        for needed in ("PostgreSQL 16", "18", str(tmp_path), "pg_dump", "DATA_DIR", "DATABASE_URL"):
            assert needed in str(refusal.value)

    def test_no_programs_is_told_with_the_ways_out(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"no PostgreSQL.*DATABASE_URL.*install postgresql"):
            binaries.select(tmp_path, [])

    def test_programs_too_old_or_broken_or_half_are_passed_over(self, tmp_path):
        old, broken, half = (fake_programs(tmp_path, v) for v in ("13.9", "18.1", "18.2"))
        (broken / "postgres").write_bytes(b"\x7fELF of another machine")
        (half / "initdb").unlink()
        assert list(binaries.available([lambda: [old, broken, half, tmp_path / "missing"]])) == []

    def test_a_damaged_version_file_is_told(self, tmp_path):
        with pytest.raises(DatabaseUnavailable, match="PG_VERSION is damaged"):
            binaries.cluster_major(made_by(tmp_path, "?"))

    def test_the_installed_wheel_is_found_with_psql(self):
        found = next(iter(binaries.available([binaries.wheel_folders])))
        assert found.major >= 18
        assert found.program("psql").is_file()


class TestFolder:
    def test_it_is_private_and_lies_in_the_data_folder(self, made, tmp_path):
        assert made.root == tmp_path / "postgres"
        assert stat.S_IMODE(made.root.stat().st_mode) == 0o700

    def test_missing_parents_are_made_and_existing_ones_left(self, tmp_path):
        tmp_path.chmod(0o750)
        before = tmp_path.stat()
        folder.create(tmp_path / "a" / "b")
        after = tmp_path.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
        assert (tmp_path / "a" / "b" / "postgres").is_dir()

    def test_a_relative_data_folder_is_fixed_at_once(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert folder.create(Path(".data")).root == tmp_path / ".data" / "postgres"

    def test_somebody_elses_folder_is_refused(self, made, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: made.root.stat().st_uid + 54321)
        with pytest.raises(DatabaseUnavailable, match=r"belongs to .*DATA_DIR.*DATABASE_URL"):
            folder.create(tmp_path)

    @pytest.mark.parametrize("name", ["x" * 200 + "/" + "y" * 200 + "/" + "ü" * 300, "a\nb", "\udcff"])
    def test_a_path_postgresql_cannot_take_is_refused(self, name):
        with pytest.raises(DatabaseUnavailable, match="rename it"):
            folder.check_path(Path("/") / name)

    def test_what_the_system_refuses_is_explained(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DatabaseUnavailable, match=r"cannot be used.*file.*DATA_DIR.*DATABASE_URL"):
            EmbeddedServer(tmp_path / "file").start()

    def test_a_written_file_is_private_whole_and_follows_no_link(self, tmp_path):
        elsewhere, path = tmp_path / "elsewhere", tmp_path / "password"
        path.symlink_to(elsewhere)
        folder.write_file(path, "secret")
        assert path.read_text() == "secret"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert not path.is_symlink()
        assert not elsewhere.exists()
        assert list(tmp_path.iterdir()) == [path]

    def test_the_end_of_what_was_logged_since_is_given(self, made):
        made.start_log.write_text("old\n")
        sizes = made.log_sizes()
        logs = made.cluster / "log"
        logs.mkdir(parents=True)
        with made.start_log.open("a") as log:
            log.write("one\ntwo\n")
        (logs / "server-Mon.log").write_bytes(b"three \xff\n")
        assert made.log_since(sizes) == "one\ntwo\nthree \ufffd"
        assert made.log_since(sizes, lines=1) == "three \ufffd"

    def test_no_password_is_none_rather_than_empty(self, made):
        assert made.read_password() is None
        made.password_file.write_text("\n")
        assert made.read_password() is None


class TestLocks:
    def test_a_lock_is_exclusive_between_descriptors_of_one_process(self, tmp_path):
        path = tmp_path / "lock"
        with locks.exclusive(path):
            assert locks.try_exclusive(path) is None
        free = locks.try_exclusive(path)
        assert free is not None
        os.close(free)

    def test_a_lock_lives_on_in_the_process_that_inherits_it(self, tmp_path):
        path = tmp_path / "lock"
        descriptor = locks.try_exclusive(path)
        with locks.handed_over(descriptor):
            heir = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
        assert locks.try_exclusive(path) is None
        heir.communicate()
        free = locks.try_exclusive(path)
        assert free is not None
        os.close(free)

    def test_a_fork_during_a_start_does_not_keep_its_locks(self, tmp_path):
        path = tmp_path / "lock"
        descriptor = locks.try_exclusive(path)
        ready, there = os.pipe()
        wait, go = os.pipe()
        with locks.handed_over(descriptor):
            child = os.fork()
            if child == 0:
                os.write(there, b"x")
                os.close(go)
                os.read(wait, 1)
                os._exit(0)
            os.read(ready, 1)
        free = locks.try_exclusive(path)
        for end in (ready, there, wait, go):
            os.close(end)
        os.waitpid(child, 0)
        assert free is not None
        os.close(free)

    def test_a_lock_is_taken_on_the_file_that_has_the_name_now(self, tmp_path):
        path = tmp_path / "lock"
        old = locks.lock(path, fcntl.LOCK_SH)
        path.unlink()
        assert not locks.is_current(old, path)
        new = locks.try_exclusive(path)
        assert new is not None
        assert locks.is_current(new, path)
        os.close(old)
        os.close(new)

    def test_a_file_system_without_locks_is_explained(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(DatabaseUnavailable, match="no file locks"):
            locks.try_exclusive(tmp_path / "lock")

    def test_a_planted_link_is_not_followed(self, tmp_path):
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="symbolic links"):
            locks.open_file(tmp_path / "lock")
        assert not (tmp_path / "elsewhere").exists()


class TestPrivileges:
    def test_the_callers_settings_do_not_reach_the_server(self, monkeypatch):
        for name in ("PGDATA", "PGPORT", "LC_MESSAGES", "LANG", "TZ", "PYTHONPATH"):
            monkeypatch.setenv(name, "x")
        seen = privileges.environment()
        assert {"PGDATA", "PGPORT", "LC_MESSAGES", "LANG", "PYTHONPATH"}.isdisjoint(seen)
        assert (seen["LC_ALL"], seen["TZ"], seen["PATH"]) == ("C", "UTC", os.environ["PATH"])

    def test_a_program_that_cannot_run_leaves_its_reason_in_the_log(self, tmp_path):
        with (tmp_path / "log").open("w+") as log:
            code = privileges.run(privileges.ourselves(), [str(tmp_path / "none")], log=log.fileno())
            log.seek(0)
            assert (code, "No such file" in log.read()) == (126, True)

    def test_a_detached_program_is_nobodys_child_and_in_another_session(self, tmp_path):
        script = "import os; print(os.getsid(0) == os.getpid(), os.getsid(0))"
        reading, writing = os.pipe()
        with (tmp_path / "log").open("w+") as log:
            command = [sys.executable, "-c", script]
            privileges.spawn(privileges.ourselves(), command, log=log.fileno(), keep=writing)
            os.close(writing)
            assert os.read(reading, 1) == b"", "it holds what it was given until it ends"
            os.close(reading)
            log.seek(0)
            leads, session = log.read().split()
        assert leads == "False"
        assert int(session) != os.getsid(0)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
    def test_root_becomes_the_owner_of_the_folder_else_nobody(self, tmp_path):
        assert privileges.heir(tmp_path).uid == 65534 or sys.platform != "linux"
        os.chown(tmp_path, 1, 1)
        assert privileges.heir(tmp_path) == Account("setuid", 1, 1)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_what_root_makes_in_an_accounts_folder_belongs_to_that_account(self, tmp_path):
        os.chown(tmp_path, 1, 1)
        made = folder.create(tmp_path / "data")
        os.close(locks.open_file(made.users_lock))
        folder.write_file(made.password_file, "secret")
        owners = {path.stat().st_uid for path in [made.root, *made.root.iterdir(), tmp_path / "data"]}
        assert owners == {1}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may use anybody's cluster")
    def test_somebody_elses_cluster_is_refused(self):
        with pytest.raises(DatabaseUnavailable, match="belongs to root"):
            privileges.of_cluster(Path("/"))

    def test_a_namespace_is_entered_under_an_account_with_a_name(self):
        assert privileges.has_name(privileges.namespace().uid)
        assert privileges.namespace().uid != 0
        assert not privileges.has_name(3999999999)


class TestCluster:
    def test_text_sorts_alike_everywhere(self):
        new, old = (cluster.initdb_options(major, Path("d"), Path("p")) for major in (18, 15))
        assert {"--builtin-locale=C.UTF-8", "--locale-provider=builtin", "--encoding=UTF8"} <= set(new)
        assert {"--locale=C", "--encoding=UTF8", "--data-checksums", "--auth-host=scram-sha-256"} <= set(old)
        assert not any("provider" in option for option in old)

    def test_leftovers_of_an_interrupted_initdb_go(self, made):
        (made.root / "init-1234" / "data" / "base").mkdir(parents=True)
        cluster.discard_leftovers(made)
        assert list(made.root.iterdir()) == []

    def test_only_a_foreign_folder_with_something_in_it_is_refused(self, made):
        made.cluster.mkdir()
        cluster.refuse_foreign(made.cluster)
        assert not made.cluster.exists()
        made.cluster.mkdir()
        (made.cluster / "precious").touch()
        with pytest.raises(DatabaseUnavailable, match="not empty"):
            cluster.refuse_foreign(made.cluster)

    def test_logs_of_last_week_go(self, tmp_path):
        old, new = tmp_path / "server-Mon.log", tmp_path / "server-Tue.log"
        old.touch()
        new.touch()
        os.utime(old, (0, 0))
        cluster.forget_old_logs(tmp_path)
        assert list(tmp_path.iterdir()) == [new]

    def test_the_log_of_starts_does_not_grow_for_ever(self, made):
        made.start_log.write_text("x" * (1 << 20) + "x")
        os.close(cluster.open_start_log(made))
        assert made.start_log.stat().st_size == 0


class TestPostmaster:
    def test_address_and_sockets_cannot_be_changed_by_a_file(self):
        options = postmaster.server_options(Path("/a b"), 5)
        assert options[:2] == ["-D", "/a b"]
        assert {"port=5", "listen_addresses=127.0.0.1", "unix_socket_directories="} <= set(options)

    @pytest.mark.parametrize("content", ["", "12", "12\n/x\n0\n", "12\n/x\n0\nnone\n"])
    def test_a_broken_pid_file_hints_at_nothing(self, made, content):
        made.cluster.mkdir()
        (made.cluster / "postmaster.pid").write_text(content)
        assert claims(made)[1] == 0
        assert ask(made).state is State.ABSENT

    def test_a_port_other_than_the_one_it_was_started_on_is_not_asked(self, made):
        made.cluster.mkdir()
        (made.cluster / "postmaster.pid").write_text("12\n/x\n0\n5432\n")
        assert ask(made, expected_port=5433).state is State.ABSENT

    def test_a_server_that_claims_to_start_is_believed_while_its_process_lives(self, made):
        made.cluster.mkdir()
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, cwd=made.cluster) as process:
            claim = f"{process.pid}\n/x\n0\n5432\n\n127.0.0.1\n1 2\nstarting\n"
            (made.cluster / "postmaster.pid").write_text(claim)
            if sys.platform == "linux":
                assert ask(made).state is State.BUSY
            process.communicate()
        assert ask(made).state is State.ABSENT

    def test_no_password_is_told_without_asking_the_server(self, made):
        made.cluster.mkdir()
        (made.cluster / "postmaster.pid").write_text("12\n/x\n0\n5432\n\n127.0.0.1\n1 2\nready\n")
        assert ask(made).state is State.REFUSED

    def test_a_pid_file_that_points_to_another_program_goes(self, made):
        made.cluster.mkdir()
        pid_file = made.cluster / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n")
        assert not postmaster.started_by_hand(made)
        assert not pid_file.exists()

    def test_a_pid_file_of_a_dead_program_is_left_to_postgresql(self, made):
        made.cluster.mkdir()
        with subprocess.Popen(["/bin/true"]) as dead:
            pass
        pid_file = made.cluster / "postmaster.pid"
        pid_file.write_text(f"{dead.pid}\n")
        assert not postmaster.started_by_hand(made)
        assert pid_file.exists()


class TestPatience:
    """How long a start waits, on a clock of its own."""

    @pytest.fixture
    def clock(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(postmaster.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(postmaster.time, "sleep", lambda _: None)
        return now

    def wait(self, clock, patience, state, seconds):
        for _ in range(seconds):
            clock[0] += 1
            patience.wait(Answer(state, "why"))

    def test_a_server_that_says_it_is_starting_gets_all_the_time_it_needs(self, clock, made):
        self.wait(clock, Patience(made), State.BUSY, 3600)

    def test_a_growing_log_is_a_sign_of_life(self, clock, made):
        patience = Patience(made)
        for _ in range(20):
            self.wait(clock, patience, State.ABSENT, 50)
            with made.start_log.open("a") as log:
                log.write("redo in progress\n")

    def test_silence_ends_it_with_the_last_lines_of_the_log(self, clock, made):
        made.start_log.write_text("the last words\n")
        with pytest.raises(DatabaseUnavailable, match=r"(?s)why.*server\.lock.*DATABASE_URL.*the last words"):
            self.wait(clock, Patience(made), State.ABSENT, 65)

    @pytest.mark.parametrize("state", [State.REFUSED, State.FOREIGN])
    def test_a_clear_refusal_ends_it_soon_though_it_is_logged_each_time(self, clock, made, state):
        patience = Patience(made)

        def wait_while_it_is_logged():
            for _ in range(15):
                with made.start_log.open("a") as log:
                    log.write("refused\n")
                self.wait(clock, patience, state, 1)

        with pytest.raises(DatabaseUnavailable, match=state.value):
            wait_while_it_is_logged()
