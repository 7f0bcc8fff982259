"""The embedded server as its users meet it: real servers, real kills."""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import asyncpg
import pytest

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded import (
    EmbeddedServer,
    binaries,
    cluster,
    folder,
    locks,
    postmaster,
    privileges,
    probe,
    process,
)
from market_data.db.embedded import server as embedded_server
from market_data.db.embedded.folder import Folder

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"

# A user in a process of its own: does what a line on stdin says and answers with a line of JSON.
CLIENT = """
import json, os, sys
from pathlib import Path
from market_data.db.embedded import EmbeddedServer, server as module
module.GRACE_SECONDS = float(sys.argv[2])
server = EmbeddedServer(Path(sys.argv[1]))
for line in sys.stdin:
    word = line.strip()
    answer = None
    if word == "start":
        answer = server.start()
    elif word == "stop":
        server.stop()
    elif word == "fork":
        reading, writing = os.pipe()
        answer = os.fork()
        if answer == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process that uses the server of a data folder."""

    def __init__(self, data_dir: Path, grace: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CLIENT, str(data_dir), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def say(self, word):
        self.send(word)
        return json.loads(self.process.stdout.readline())

    def send(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def kill(self, number=signal.SIGKILL):
        os.killpg(self.process.pid, number)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def eventually(condition, seconds=30.0):
    """Return the first true value of a condition, polled."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return value


def query(url, sql, *arguments):
    async def run():
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    return [tuple(row) for row in asyncio.run(run())]


def at(data_dir) -> Folder:
    return Folder(data_dir / "postgres")


def pid_of(data_dir) -> int:
    return int(at(data_dir).postmaster_lines()[0])


def processes_of(data_dir) -> set[int]:
    """Pids of all live processes that work in the cluster."""
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and process.is_postmaster(int(entry.name), at(data_dir).cluster)
    }


def stopped(data_dir) -> bool:
    """Whether neither a server nor a watcher of a data folder lives."""
    for path in (at(data_dir).server_lock, at(data_dir).watcher_lock):
        with contextlib.suppress(FileNotFoundError):
            lock = locks.try_exclusive(path)
            if lock is None:
                return False
            os.close(lock)
    return True


def held(path) -> bool:
    lock = locks.try_exclusive(path)
    if lock is not None:
        os.close(lock)
    return lock is None


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(embedded_server, "GRACE_SECONDS", 0.2)


@pytest.fixture(scope="module")
def folders():
    """Every data folder made here, to see at the end that nothing was left running."""
    used: list[Path] = []
    yield used
    for data_dir in used:
        eventually(lambda data_dir=data_dir: stopped(data_dir))
        assert not LINUX or not processes_of(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def data_dir(folders):
    """A data folder that every account can reach, where root runs the server as `nobody`."""
    path = Path(tempfile.mkdtemp(prefix="market-data-"))
    path.chmod(0o755)
    folders.append(path)
    return path


@pytest.fixture
def server(data_dir):
    embedded = EmbeddedServer(data_dir)
    yield embedded
    embedded.stop()


@pytest.fixture
def client(data_dir):
    """Make users in processes of their own; all are killed in the end."""
    clients: list[Client] = []

    def make(grace=0.2) -> Client:
        clients.append(Client(data_dir, grace))
        return clients[-1]

    yield make
    for one in clients:
        if one.process.returncode is None:
            one.kill()


class TestStart:
    def test_the_server_is_private_and_set_up_as_promised(self, server, data_dir):
        url = server.start()
        password = at(data_dir).read_password()
        assert url.startswith(f"postgresql://market_data:{password}@127.0.0.1:")
        assert url.endswith("/market_data")
        assert len(password) >= 32
        assert stat.S_IMODE(at(data_dir).password_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(at(data_dir).cluster.stat().st_mode) == 0o700
        wanted = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
            "fsync": "on",
            "full_page_writes": "on",
            "password_encryption": "scram-sha-256",
            "max_connections": "200",
            "log_min_duration_statement": "-1",
            "max_wal_size": "2048",
            "logging_collector": "on",
        }
        assert (
            dict(query(url, "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(wanted)))
            == wanted
        )
        assert query(url, "SELECT type, auth_method, address FROM pg_hba_file_rules") == [
            ("host", "scram-sha-256", "127.0.0.1")
        ]
        assert query(url, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolcanlogin") == [
            (True,)
        ]
        assert list((at(data_dir).cluster / "log").glob("server-*.log"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(url.replace(password, "guess"), "SELECT 1")

    def test_a_second_start_keeps_data_and_port_and_takes_no_time(self, server, data_dir):
        url = server.start()
        query(url, "CREATE TABLE bars AS SELECT 42 AS close")
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            assert server.start() == url
            times.append(time.perf_counter() - begin)
        assert min(times) < 0.2
        server.stop()
        server.stop()
        eventually(lambda: stopped(data_dir))
        assert "database system is shut down" in at(data_dir).log_since({})
        with server as again:
            assert again is server
            assert server.start() == url
            assert query(url, "SELECT close FROM bars") == [(42,)]

    def test_psql_of_the_package_connects(self, server):
        url = server.start()
        done = subprocess.run(
            [server.bin_dir / "psql", url, "-Atc", "SELECT 1"], capture_output=True, text=True, check=True
        )
        assert done.stdout == "1\n"

    def test_odd_and_long_paths(self, folders, data_dir):
        odd = data_dir / "prix du marché 東京 'a' \"b\" $c" / ("long " * 20) / ("path " * 20)
        folders.insert(0, odd)
        with EmbeddedServer(odd) as server:
            assert query(server.start(), "SHOW data_directory") == [(str(at(odd).cluster),)]

    def test_a_data_folder_reached_by_a_link_is_the_same(self, server, data_dir, tmp_path):
        (tmp_path / "link").symlink_to(data_dir)
        with EmbeddedServer(tmp_path / "link") as other:
            assert other.start() == server.start()

    def test_nothing_outside_our_folder_changes(self, server, data_dir):
        def look():
            paths = [
                data_dir,
                *data_dir.parents,
                server.bin_dir,
                *server.bin_dir.parents,
                server.bin_dir / "postgres",
            ]
            return [(str(p), p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in paths]

        before = look()
        server.start()
        assert look() == before
        assert list(data_dir.iterdir()) == [at(data_dir).root]

    @pytest.mark.skipif(not LINUX, reason="reads /proc")
    def test_server_and_watcher_hold_nothing_of_ours(self, client, data_dir):
        one = client()
        one.say("start")
        ours = {str(link.readlink()) for link in Path(f"/proc/{one.process.pid}/fd").iterdir()}
        for pid, expected in [
            (pid_of(data_dir), {"server.lock", "start.log"}),
            (watcher_of(data_dir), {"watcher.lock", "watcher.log", "users.lock"}),
        ]:
            assert os.getsid(pid) not in (os.getsid(0), one.process.pid)
            held_files = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
            assert held_files & ours <= {"/dev/null", "anon_inode:[eventpoll]", str(at(data_dir).users_lock)}
            names = {Path(name).name for name in held_files if name.startswith(str(data_dir))}
            assert names - {"server-%a.log"} <= expected | {"postmaster.pid"}

    def test_settings_follow_the_program_and_modes_are_repaired(self, server, data_dir):
        server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        (at(data_dir).cluster / cluster.SETTINGS_FILE).write_text("max_connections = 7\n")
        at(data_dir).cluster.chmod(0o755)
        assert query(server.start(), "SHOW max_connections") == [("200",)]

    def test_threads_and_objects_share_one_server(self, data_dir):
        servers = [EmbeddedServer(data_dir) for _ in range(3)] * 2
        urls = []
        threads = [threading.Thread(target=lambda s=s: urls.append(s.start())) for s in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(urls) == 6
        assert len(set(urls)) == 1
        servers[0].stop()
        assert query(urls[0], "SELECT 1") == [(1,)]
        for server in servers:
            server.stop()

    async def test_it_starts_from_within_an_event_loop(self, server):
        connection = await asyncpg.connect(server.start())
        assert await connection.fetchval("SELECT current_database()") == "market_data"
        await connection.close()


def watcher_of(data_dir) -> int:
    """Pid of the watcher of a data folder."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"market_data.db.embedded.watcher" in words and os.fsencode(at(data_dir).root) in words:
                return int(entry.name)
    return 0


class TestAccounts:
    @pytest.mark.skipif(not ROOT, reason="an ordinary user runs the server as himself")
    def test_root_runs_it_as_nobody_where_nobody_reaches_the_files(self, server, data_dir):
        server.start()
        nobody = pwd.getpwnam("nobody").pw_uid
        assert at(data_dir).cluster.stat().st_uid == nobody
        assert at(data_dir).root.stat().st_uid == 0
        assert stat.S_IMODE(at(data_dir).root.stat().st_mode) == 0o711
        assert self.real_uid(pid_of(data_dir)) == nobody

    @pytest.mark.skipif(not ROOT, reason="only root becomes somebody else")
    def test_root_runs_it_as_the_owner_of_the_data_folder(self, server, data_dir):
        os.chown(data_dir, 1, 1)
        server.start()
        assert self.real_uid(pid_of(data_dir)) == 1
        owners = {path.stat().st_uid for path in at(data_dir).root.iterdir()}
        assert owners == {1}, "he could not use what belongs to root"

    @pytest.mark.skipif(not (ROOT and LINUX), reason="needs root and Linux's user namespaces")
    def test_root_runs_it_in_a_namespace_where_nobody_else_reaches_the_files(self, data_dir):
        closed = data_dir / "closed"
        closed.mkdir(mode=0o700)
        with EmbeddedServer(closed) as server:
            assert query(server.start(), "SELECT 1") == [(1,)]
            pid = pid_of(closed)
            assert self.real_uid(pid) == 0
            assert Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
            owners = {path.stat().st_uid for path in [at(closed).root, *at(closed).root.rglob("*")]}
            assert owners == {0}
            assert "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()
        eventually(lambda: stopped(closed))
        with EmbeddedServer(closed) as server:
            assert query(server.start(), "SELECT 1") == [(1,)]
        eventually(lambda: stopped(closed))

    @pytest.mark.skipif(not ROOT, reason="root's way out is at stake")
    def test_without_namespaces_the_message_says_what_to_do(self, data_dir, monkeypatch):
        monkeypatch.setattr(privileges, "reaches", lambda *_, **__: False)
        with pytest.raises(DatabaseUnavailable, match=r"nobody cannot reach.*ordinary user.*DATABASE_URL"):
            EmbeddedServer(data_dir).start()

    @pytest.mark.skipif(ROOT, reason="root may write anywhere")
    def test_a_read_only_folder_is_explained(self, data_dir):
        data_dir.chmod(0o555)
        with pytest.raises(DatabaseUnavailable, match=r"cannot be used: Permission denied.*DATA_DIR"):
            EmbeddedServer(data_dir).start()
        data_dir.chmod(0o755)

    @staticmethod
    def real_uid(pid):
        return Path(f"/proc/{pid}").stat().st_uid if LINUX else os.geteuid()


class TestSharing:
    def test_the_last_to_leave_stops_it_though_all_are_killed(self, client, data_dir):
        first, second = client(), client()
        url = first.say("start")
        assert second.say("start") == url
        query(url, "CREATE TABLE bars AS SELECT 42 AS close")
        begun = query(url, "SELECT pg_postmaster_start_time()")
        first.kill()
        third = client()
        assert third.say("start") == url
        assert query(url, "SELECT pg_postmaster_start_time()") == begun
        third.kill(signal.SIGINT)
        second.kill()
        eventually(lambda: stopped(data_dir))
        assert not LINUX or not processes_of(data_dir)
        assert query(client().say("start"), "SELECT close FROM bars") == [(42,)]

    def test_a_forked_child_is_a_user_until_it_ends(self, client, data_dir):
        parent = client()
        url = parent.say("start")
        child = parent.say("fork")
        parent.say("stop")
        watching = watcher_of(data_dir)
        assert not held(at(data_dir).start_lock)
        assert held(at(data_dir).users_lock)
        assert query(url, "SELECT 1") == [(1,)]
        assert watcher_of(data_dir) == watching
        os.kill(child, signal.SIGKILL)
        eventually(lambda: stopped(data_dir))

    @pytest.mark.skipif(not LINUX, reason="finds processes in /proc")
    def test_a_killed_watcher_is_replaced_by_the_next_start(self, client, data_dir):
        one = client()
        url = one.say("start")
        first = watcher_of(data_dir)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not held(at(data_dir).watcher_lock))
        assert one.say("start") == url
        assert eventually(lambda: watcher_of(data_dir)) != first
        one.kill()
        eventually(lambda: stopped(data_dir))

    def test_a_newcomer_during_the_stop_gets_a_new_server(self, client, data_dir):
        one = client()
        url = one.say("start")
        begun = query(url, "SELECT pg_postmaster_start_time()")
        # A backend that cannot react holds the shutdown up for as long as we like.
        backend = self.busy_backend(url)
        os.kill(backend, signal.SIGSTOP)
        one.kill()
        eventually(lambda: "shutdown request" in at(data_dir).log_since({}))
        newcomer = client()
        newcomer.send("start")
        assert not stopped(data_dir)
        os.kill(backend, signal.SIGCONT)
        again = json.loads(newcomer.process.stdout.readline())
        assert query(again, "SELECT pg_postmaster_start_time()") > begun
        assert held(at(data_dir).watcher_lock)

    def busy_backend(self, url):
        started, pids = threading.Event(), []

        async def hold():
            connection = await asyncpg.connect(url)
            pids.append(connection.get_server_pid())
            started.set()
            with contextlib.suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                await connection.execute("SELECT pg_sleep(600)")
            connection.terminate()

        threading.Thread(target=asyncio.run, args=(hold(),), daemon=True).start()
        started.wait(10)
        return pids[0]

    def test_coming_and_going_around_the_grace_period(self, client):
        def come_and_go(seed):
            one = client(grace=0.5)
            for turn in range(4):
                url = one.say("start")
                assert query(url, "SELECT 1") == [(1,)]
                one.say("stop")
                time.sleep(0.4 + 0.1 * ((seed + turn) % 4))
            done.append(seed)

        done = []
        threads = [threading.Thread(target=come_and_go, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == [0, 1, 2]


class TestAccidents:
    def test_a_killed_postmaster_is_recovered_by_the_next_start(self, server, data_dir):
        url = server.start()
        query(url, "CREATE TABLE bars AS SELECT 42 AS close")
        os.kill(pid_of(data_dir), signal.SIGKILL)
        assert query(server.start(), "SELECT close FROM bars") == [(42,)]

    def test_an_old_backend_at_work_is_waited_for(self, server, data_dir):
        url = server.start()
        working = threading.Event()

        async def work():
            connection = await asyncpg.connect(url)
            working.set()
            with contextlib.suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                await connection.execute("SELECT count(*) FROM generate_series(1, 8000000)")
            connection.terminate()

        thread = threading.Thread(target=asyncio.run, args=(work(),))
        thread.start()
        assert working.wait(10)
        eventually(lambda: query(url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT count%'"))
        os.kill(pid_of(data_dir), signal.SIGKILL)
        assert query(server.start(), "SELECT 1") == [(1,)]
        thread.join()

    @pytest.mark.skipif(not LINUX, reason="finds processes in /proc")
    def test_an_interrupted_initdb_is_done_again(self, client, server, data_dir):
        one = client()
        one.send("start")
        eventually(lambda: list(at(data_dir).root.glob("init-*/data/global/pg_control")))
        one.kill()
        assert not at(data_dir).cluster.exists()
        assert query(server.start(), "SELECT 1") == [(1,)]
        assert not list(at(data_dir).root.glob("init-*"))

    def test_a_taken_port_is_avoided_before_and_during_the_start(self, server, data_dir, monkeypatch):
        server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        with socket.socket() as other, socket.socket() as another:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(at(data_dir).port_file.read_text())))
            other.listen()
            another.bind(("127.0.0.1", 0))
            another.listen()
            choices = [another.getsockname()[1]]
            choose = postmaster.choose_port
            monkeypatch.setattr(postmaster, "choose_port", lambda f: choices.pop() if choices else choose(f))
            url = server.start()
            assert not choices
            assert f":{other.getsockname()[1]}/" not in url
            assert query(url, "SELECT 1") == [(1,)]

    def test_a_recycled_pid_is_neither_trusted_nor_harmed(self, server, data_dir):
        server.start()
        lines = at(data_dir).postmaster_lines()
        os.kill(pid_of(data_dir), signal.SIGKILL)
        eventually(lambda: not held(at(data_dir).server_lock))
        # As the server's own account, since PostgreSQL itself ignores the pids of others.
        owner = at(data_dir).cluster.stat().st_uid
        with subprocess.Popen(["/bin/sleep", "600"], user=owner if ROOT else None) as stranger:
            lines[0] = str(stranger.pid)
            (at(data_dir).cluster / "postmaster.pid").write_text("\n".join(lines))
            assert query(server.start(), "SELECT 1") == [(1,)]
            server.stop()
            eventually(lambda: stopped(data_dir))
            assert stranger.poll() is None
            stranger.kill()

    def test_a_lost_password_is_renewed(self, server, data_dir):
        old = server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        at(data_dir).password_file.unlink()
        assert server.start() != old
        assert stat.S_IMODE(at(data_dir).password_file.stat().st_mode) == 0o600

    def test_a_deleted_data_folder_is_made_anew(self, server, data_dir):
        server.start()
        old = pid_of(data_dir)
        shutil.rmtree(at(data_dir).root)
        assert query(server.start(), "SELECT 1") == [(1,)]
        assert pid_of(data_dir) != old
        # PostgreSQL looks after its data folder once a minute; we cannot wait for that.
        os.kill(old, signal.SIGQUIT)

    def test_a_server_that_somebody_started_by_hand_is_used(self, server, data_dir, tmp_path):
        server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        made = at(data_dir)
        command = [
            str(server.bin_dir / "postgres"),
            *postmaster.server_options(made.cluster, postmaster.choose_port(made)),
        ]
        with (tmp_path / "log").open("w") as log:
            privileges.spawn(
                privileges.of_cluster(made.cluster), command, log=log.fileno(), keep=log.fileno()
            )
        pid = probe_until_ours(made)
        assert query(server.start(), "SELECT 1") == [(1,)]
        assert pid_of(data_dir) == pid
        os.kill(pid, signal.SIGINT)
        eventually(lambda: not process.is_postmaster(pid, made.cluster))


def probe_until_ours(made) -> int:
    return eventually(lambda: (answer := probe.ask(made)).state is probe.State.OURS and answer.pid)


class TestRefusals:
    def test_no_programs_for_this_platform(self, server, monkeypatch):
        monkeypatch.setattr(binaries, "FINDERS", ())
        with pytest.raises(DatabaseUnavailable, match=r"DATABASE_URL.*install postgresql"):
            server.start()

    def test_a_cluster_of_another_major(self, server, data_dir):
        server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        version = at(data_dir).cluster / "PG_VERSION"
        mine = version.read_text()
        version.write_text("9\n")
        with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL 9,.*pg_dump.*DATA_DIR.*DATABASE_URL"):
            server.start()
        version.write_text(mine)
        assert query(server.start(), "SELECT 1") == [(1,)]

    @pytest.mark.skipif(not any(binaries.system_folders()), reason="no PostgreSQL of the system is installed")
    def test_a_cluster_of_the_systems_postgresql_goes_on_with_it(self, server, data_dir, monkeypatch):
        with monkeypatch.context() as only_system:
            only_system.setattr(binaries, "FINDERS", (binaries.system_folders,))
            url = server.start()
            major = query(url, "SELECT current_setting('server_version_num')::int / 10000")
            server.stop()
            eventually(lambda: stopped(data_dir))
        url = server.start()
        assert query(url, "SELECT current_setting('server_version_num')::int / 10000") == major

    def test_a_server_that_does_not_start_shows_its_log(self, server, data_dir):
        server.start()
        server.stop()
        eventually(lambda: stopped(data_dir))
        with (at(data_dir).cluster / "postgresql.conf").open("a") as conf:
            conf.write("no_such_setting = 1\n")
        with pytest.raises(DatabaseUnavailable, match=r"(?s)did not start.*start\.log.*no_such_setting"):
            server.start()
        eventually(lambda: stopped(data_dir))

    def test_an_initdb_that_fails_shows_its_log(self, server, data_dir, monkeypatch):
        real = server.bin_dir
        bin_dir = data_dir / "bin"
        bin_dir.mkdir()
        (bin_dir / "postgres").symlink_to(real / "postgres")
        (bin_dir / "initdb").write_text(
            "#!/bin/sh\n[ $1 = --version ] || { echo the disk is full of eels; exit 1; }\n"
        )
        (bin_dir / "initdb").chmod(0o755)
        monkeypatch.setattr(binaries, "FINDERS", (lambda: [bin_dir],))
        with pytest.raises(DatabaseUnavailable, match=r"(?s)could not make.*full of eels"):
            server.start()
        monkeypatch.undo()
        assert query(server.start(), "SELECT 1") == [(1,)]

    def test_a_changed_password_is_told(self, server, data_dir, monkeypatch):
        monkeypatch.setattr(postmaster, "REFUSAL_SECONDS", 0.1)
        url = server.start()
        good = at(data_dir).read_password()
        folder.write_file(at(data_dir).password_file, secrets.token_urlsafe(32))
        with pytest.raises(DatabaseUnavailable, match="does not accept our password"):
            server.start()
        folder.write_file(at(data_dir).password_file, good)
        assert server.start() == url
