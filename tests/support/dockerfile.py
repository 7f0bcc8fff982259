"""A Dockerfile as its builder reads it: stages of instructions, continued lines joined, comments gone."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Stage:
    """What stands between one FROM and the next."""

    name: str
    image: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        """Arguments of every instruction of one kind, in order."""
        return [rest for kind, rest in self.steps if kind == word]

    def env(self, before: dict[str, str]) -> dict[str, str]:
        """An environment, changed as this stage's ENV lines change it."""
        after = dict(before)
        for line in self.of("ENV"):
            for pair in shlex.split(line):
                name, _, value = pair.partition("=")
                after[name] = _VARIABLE.sub(lambda found: after.get(found[1], ""), value)
        return after

    def command(self, word: str) -> list[str]:
        """Words of the last ENTRYPOINT, CMD or HEALTHCHECK, which are lists of strings in JSON."""
        line = self.of(word)[-1]
        found: list[str] = json.loads(line[line.index("[") :])
        return found


def read(path: Path) -> list[Stage]:
    """Read a Dockerfile's stages; ARG lines before the first FROM are put in where they are used."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "ARG" and not stages:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(name, _VARIABLE.sub(lambda found: arguments[found[1]], image)))
        elif word:
            stages[-1].steps.append((word, rest))
    return stages
