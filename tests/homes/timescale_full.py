"""TimescaleDB, full edition: the server that TEST_TIMESCALE_URL names, or the vendor's image under Docker."""

import gc
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.homes.unavailable import Unavailable

IMAGE = "timescale/timescaledb:2.29.2-pg18"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Give the address of a server that has all of TimescaleDB; a container keeps its data in itself."""
    if given := os.environ.get("TEST_TIMESCALE_URL"):
        yield given
        return
    if not engine_answers():
        raise Unavailable("no Docker engine answers, and TEST_TIMESCALE_URL is not set")
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(IMAGE, password=secrets.token_urlsafe(16), driver=None)
    with container.with_env("TIMESCALEDB_TELEMETRY", "off") as running:
        yield running.get_connection_url()


def engine_answers() -> bool:
    """Whether there is a Docker engine."""
    # Imported here and above, as most runs need neither: they take as long as all of pytest.
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    with warnings.catch_warnings():
        # The client forgets to close the socket that found nobody.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            DockerClient().client.close()
        except DockerException:
            return False
        finally:
            gc.collect()
    return True
