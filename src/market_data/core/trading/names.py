"""Which calendar an instrument follows.

The names are written out: asking the library would load pandas for every help text. A test compares them.
"""

from difflib import get_close_matches
from typing import Final

from market_data.core.exceptions import InvalidInput
from market_data.core.vocabulary import AssetClass

ALWAYS: Final = "24/7"
"""Every instant, in days of UTC."""
FOREX: Final = "24/5"
"""From Sunday 17:00 to Friday 17:00 in New York; a day ends at 17:00 there."""
WEEKDAYS: Final = "weekdays"
"""Monday to Friday, in whole days of UTC; nobody knows at which hours."""

_NAMES = (
    "AIXK ASEX BVMF CMES IEPA XAMS XASX XBDA XBEL XBKK XBOG XBOM XBRA XBRU XBSE XBUD XBUE XCBF XCSE "
    "XCYS XDUB XDUS XEEE XETR XEUR XFRA XHAM XHEL XHKG XICE XIDX XIST XJSE XKAR XKLS XKRX XLIM XLIS "
    "XLIT XLJU XLON XLUX XMAD XMEX XMIL XMOS XNYS XNZE XOSL XPAR XPHS XPRA XRIS XSAU XSES XSGO XSHG "
    "XSTO XSTU XSWX XTAE XTAI XTAL XTKS XTSE XWAR XWBO XZAG us_futures"
)
EXCHANGES: Final = frozenset(_NAMES.split())
"""The calendars of `exchange_calendars`, but its `24/7` and `24/5`, which are our own."""

_FOLLOWERS = {
    # The library's aliases, then ISO 10383 segments and venues that keep the hours and holidays of another.
    "XNYS": "NYSE NASDAQ BATS XNAS ARCX OOTC XASE "
    "AMEX ARCA ALTS BATY EDGA EDGX EPRL EXPM FINR FINY IEXG LTSE MEMX OTCB OTCM OTCQ PINC PINL PINX PSGM "
    "XBOS XCHI XCIS XNCM XNGS XNMS XOTC XPHL XPSX",
    "XTSE": "XTSX TSX NEOE XCNQ XATS",
    "XFRA": "FWB",
    "XETR": "XETA XETB",
    "XLON": "LSE AIMX XLOM",
    "BVMF": "BMF",
    "CMES": "CME CBOT COMEX NYMEX XCME XCBT XNYM XCEC GLBX",
    "IEPA": "ICE ICEUS NYFE IFUS",
    "XCBF": "CFE",
    "XIDX": "JKT",
    "XSWX": "SIX XVTX",
    "XTKS": "JPX XJPX",
    "XASX": "ASX",
    "XHKG": "HKEX XGEM",
    "XOSL": "OSE MERK XOAS",
    "XBOM": "BSE XNSE NSE",
    "XSHG": "SSE XSHE XSSC XSEC",
    "XTAE": "TASE",
    "XBSE": "BVB",
    "XLUX": "LUXSE",
    "XPAR": "ALXP XMLI",
    "XBRU": "ALXB MLXB",
    "XLIS": "ALXL ENXL",
    "XAMS": "TNLA",
    "XDUB": "XMSM",
    "XMIL": "MTAA EXGM ETFP",
    "XMAD": "BMEX XBAR XBIL XVAL XMCE",
    "XSTO": "FNSE",
    "XHEL": "FNFI",
    "XCSE": "FNDK",
    "XKRX": "XKOS",
    "XTAI": "ROCO",
    "XMOS": "MISX",
}
_FOLLOWED = {venue: name for name, venues in _FOLLOWERS.items() for venue in venues.split()}


def calendar_name(exchange: str, asset_class: AssetClass) -> str:
    """Return the name of the calendar an instrument follows.

    Crypto assets follow `24/7` and currency pairs `24/5` wherever they are traded; all others follow their
    exchange (a MIC or a common name, in any case), or `weekdays` where there is no calendar of it.
    """
    if asset_class is AssetClass.CRYPTO:
        return ALWAYS
    if asset_class is AssetClass.FX:
        return FOREX
    return _followed(exchange) or WEEKDAYS


def known_calendars() -> list[str]:
    """Return the names `open_calendar` knows, in order."""
    return sorted({ALWAYS, FOREX, WEEKDAYS, *EXCHANGES})


def require_known(name: str) -> None:
    """Refuse a name no calendar has.

    Raises:
        InvalidInput: unknown; the field is `calendar`, the text has what may be meant.

    """
    known = known_calendars()
    if name in known:
        return
    followed = _followed(name)
    meant = [followed] if followed else get_close_matches(name.upper(), known, n=3)
    hint = f"did you mean {' or '.join(meant)}?" if meant else f"known are {', '.join(known)}"
    raise InvalidInput("calendar", f"no calendar {name[:40]!r}; {hint}")


def _followed(exchange: str) -> str | None:
    code = exchange.upper()
    return code if code in EXCHANGES else _FOLLOWED.get(code)
