import httpx2

from market_data import __version__


async def test_live_and_ready(client: httpx2.AsyncClient) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "version": __version__}
