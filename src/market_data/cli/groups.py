"""Groups of commands that do something by themselves."""

from typing import Any

from typer.core import TyperGroup


class ListGroup(TyperGroup):
    """Without a command of its own it lists: `instruments apple` is `instruments list apple`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before what names no command."""
        asks_for_help = args[:1] in (["-h"], ["--help"])
        if not asks_for_help and (not args or args[0] not in self.commands):
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed
