"""Which instrument a symbol stands for. Active ones win; tickers are re-used, so nothing is guessed."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from market_data.models import Instrument
from market_data.repositories.price_source import Listed

InstrumentT = TypeVar("InstrumentT", Instrument, Listed)


@dataclass(frozen=True, slots=True)
class Named(Generic[InstrumentT]):
    """What a symbol or id, as it was asked, stands for: one instrument, none, or several candidates."""

    asked: str
    instrument: InstrumentT | None
    candidates: tuple[str, ...] = ()
    fitting: tuple[int, ...] = ()
    """Ids of every instrument, active or not, that a symbol may stand for."""

    @property
    def ambiguous(self) -> bool:
        """Whether several instruments fit."""
        return bool(self.candidates)


def possible_exchanges(texts: Sequence[str]) -> list[str]:
    """Return what may be an exchange in `exchange:symbol`; the catalogue decides whether it is one."""
    return sorted({text.split(":", 1)[0] for text in texts if ":" in text})


def possible_symbols(texts: Sequence[str]) -> list[str]:
    """Return every symbol these texts may mean."""
    tails = (text.split(":", 1)[1] for text in texts if ":" in text)
    return sorted({*texts, *tails})


def name_symbols(
    texts: Sequence[str],
    instruments: Sequence[InstrumentT],
    exchanges: AbstractSet[str],
    *,
    retired: bool,
) -> list[Named[InstrumentT]]:
    """Tell which instrument each `symbol` or `exchange:symbol` stands for, in the order asked.

    `instruments` are all that have one of `possible_symbols`, `exchanges` those of `possible_exchanges` that
    exist. Active instruments win; with `retired`, and where no active one fits, a single inactive one does.
    """
    by_symbol: dict[str, list[InstrumentT]] = {}
    for instrument in instruments:
        by_symbol.setdefault(instrument.symbol, []).append(instrument)

    def name(text: str) -> Named[InstrumentT]:
        head, colon, tail = text.partition(":")
        exchange, symbol = (head, tail) if colon and head in exchanges else (None, text)
        fitting = [i for i in by_symbol.get(symbol, ()) if exchange in {None, i.exchange}]
        best = [i for i in fitting if i.active] or (fitting if retired else [])
        candidates = tuple(f"{i.exchange}:{i.symbol} (id {i.id})" for i in best) if len(best) > 1 else ()
        one = best[0] if len(best) == 1 else None
        return Named(text, one, candidates, tuple(i.id for i in fitting))

    return [name(text) for text in texts]
