"""`market-data subscriptions`: what is kept up to date."""

from typing import Annotated, Any

import typer

from market_data.cli.catalogue import PAGE, every
from market_data.cli.groups import ListGroup
from market_data.cli.options import Json, checked, interval_option
from market_data.cli.output import print_fields, print_json, print_rows
from market_data.cli.running import opened, opened_for_runs, run_async
from market_data.core.exceptions import InvalidInput
from market_data.repositories.subscription import SubscriptionFilter
from market_data.schemas.job import JobRead
from market_data.schemas.subscription import SubscriptionCreate, SubscriptionRead, SubscriptionUpdate
from market_data.services.subscription import Subscribed, SubscriptionRequest, SubscriptionService
from market_data.services.sync import SyncService

_COLUMNS = ("id", "watchlist", "provider", "symbol", "interval", "since", "watermark", "due_at", "failures")

_subscriptions = typer.Typer(
    cls=ListGroup,
    help="What is kept up to date: market-data subscriptions, or add, edit, remove, sync.",
    epilog="Example: market-data subscriptions add binance BTCUSDT --interval 1m --since 2024-01-01",
)
app = typer.Typer()
app.add_typer(_subscriptions, name="subscriptions")

Watchlist = Annotated[str | None, typer.Option(help="Name of its list.")]
Schedule = Annotated[str | None, typer.Option(help="Name of a schedule; else as bars become final.")]
Exchange = Annotated[str | None, typer.Option(help="Where it trades, for providers that do not say.")]
Which = Annotated[list[int], typer.Argument(metavar="ID", help="Of `market-data subscriptions`.")]


@_subscriptions.command("list", epilog="Example: market-data subscriptions list --watchlist crypto --failing")
def list_(
    watchlist: Watchlist = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    interval: Annotated[str | None, typer.Option(help="Only of this interval.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only such.")] = None,
    failing: Annotated[bool | None, typer.Option("--failing/--well", help="Only such.")] = None,
    json: Json = False,
) -> None:
    """List what is kept up to date, oldest first."""
    wanted = SubscriptionFilter(
        watchlist=watchlist,
        provider=provider,
        interval=interval_option(interval) if interval else None,
        active=active,
        failing=failing,
    )

    async def work() -> list[Subscribed]:
        async with opened() as database:
            service = SubscriptionService(database)
            return await every(lambda token: service.list_(wanted, limit=PAGE, page_token=token))

    _print(run_async(work), as_json=json)


@_subscriptions.command(
    epilog="Example: market-data subscriptions add binance BTCUSDT ETHUSDT --interval 1m --since 2024-01-01"
)
def add(
    provider: Annotated[str, typer.Argument(help="One of `market-data providers`.")],
    symbols: Annotated[list[str], typer.Argument(help="As the provider writes them.")],
    since: Annotated[str, typer.Option(help="First bar wanted: a date, or RFC 3339 with offset.")],
    interval: Annotated[list[str], typer.Option(help="1m 5m 15m 30m 1h 4h 1d 1w 1mo; may be repeated.")],
    watchlist: Watchlist = None,
    schedule: Schedule = None,
    exchange: Exchange = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Do not look after them yet.")] = False,
    json: Json = False,
) -> None:
    """Keep symbols up to date from now on; of those that are kept already, what is named changes."""
    given = {
        "provider": provider,
        "symbols": list(symbols),
        "intervals": list(interval),
        "since": since,
        "watchlist": watchlist,
        "schedule": schedule,
        "exchange": exchange,
        "active": False if inactive else None,
    }
    request = SubscriptionRequest(**dict(checked("subscription", SubscriptionCreate, given)))

    async def work() -> list[Subscribed]:
        async with opened() as database:
            return await SubscriptionService(database).subscribe(request)

    _print(run_async(work), as_json=json)


@_subscriptions.command(epilog="Example: market-data subscriptions edit 3 --since 2020-01-01")
def edit(
    subscription_id: Annotated[int, typer.Argument(metavar="ID", help="Of `market-data subscriptions`.")],
    since: Annotated[str | None, typer.Option(help="First bar wanted.")] = None,
    watchlist: Watchlist = None,
    schedule: Annotated[
        str | None, typer.Option(help="Name of a schedule; `none`: as bars become final.")
    ] = None,
    exchange: Exchange = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether it is followed.")
    ] = None,
    json: Json = False,
) -> None:
    """Change what is given; it is looked after anew."""
    given: dict[str, Any] = {"since": since, "watchlist": watchlist, "exchange": exchange, "active": active}
    changes = {name: value for name, value in given.items() if value is not None}
    if schedule is not None:
        changes["schedule"] = None if schedule == "none" else schedule
    if not changes:
        raise InvalidInput("edit", "names nothing to change; see --help")
    values = checked("subscription", SubscriptionUpdate, changes).model_dump(exclude_unset=True)

    async def work() -> Subscribed:
        async with opened() as database:
            return await SubscriptionService(database).update(subscription_id, values)

    row = _row(run_async(work))
    print_json(row) if json else print_fields(row)


@_subscriptions.command(epilog="Example: market-data subscriptions remove 3 4")
def remove(ids: Which, json: Json = False) -> None:
    """Forget subscriptions; their bars stay."""

    async def work() -> None:
        async with opened() as database:
            for one in ids:
                await SubscriptionService(database).delete(one)

    run_async(work)
    print_json({"removed": ids}) if json else typer.echo(f"removed: {', '.join(map(str, ids))}")


@_subscriptions.command(epilog="Example: market-data subscriptions sync 3 --here")
def sync(
    ids: Which,
    here: Annotated[
        bool, typer.Option("--here", help="In this process, instead of by whoever works off the queue.")
    ] = False,
    json: Json = False,
) -> None:
    """Look after subscriptions at once, before everything else that waits."""

    async def by_queue() -> list[dict[str, Any]]:
        async with opened() as database:
            service = SubscriptionService(database)
            jobs = [await service.sync(one) for one in ids]
            return [JobRead.model_validate(one.fields).model_dump(mode="json") for one in jobs]

    async def at_once() -> list[Subscribed]:
        async with opened_for_runs() as (database, liveness):
            service, worker = SubscriptionService(database), SyncService(database, liveness)
            for one in [(await service.get(one)).subscription.id for one in ids]:
                await worker.sync(one)
            return [await service.get(one) for one in ids]

    if here:
        _print(run_async(at_once), as_json=json)
        return
    rows = run_async(by_queue)
    if json:
        print_json(rows)
    for row in () if json else rows:
        typer.echo(f"job {row['id']} is {row['status']}; follow it: market-data jobs watch {row['id']}")


def _print(found: list[Subscribed], *, as_json: bool) -> None:
    rows = [_row(one) for one in found]
    print_json(rows) if as_json else print_rows(rows, _COLUMNS)


def _row(one: Subscribed) -> dict[str, Any]:
    return SubscriptionRead.model_validate(one.fields).model_dump(mode="json")
