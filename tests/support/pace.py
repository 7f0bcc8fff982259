"""A pace that lets everybody ask at once, and notes what it was told."""


class FakePace:
    """`events` are "turn" and the seconds of holds, in their order; turns raise `refusal` if it is given."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.events: list[str | float] = []
        self.refusal = refusal

    async def turn(self) -> None:
        self.events.append("turn")
        if self.refusal is not None:
            raise self.refusal

    async def hold(self, seconds: float) -> None:
        self.events.append(seconds)

    @property
    def holds(self) -> list[float]:
        return [event for event in self.events if event != "turn"]
