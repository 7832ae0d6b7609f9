"""The demo's clients against a server that has more to do than it can."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pilotage.cli.demo.traffic import Reply, send_rows


async def _sent(refusals: int) -> list[Reply]:
    """Two rows sent to a server that refuses each row so many times first."""
    met: dict[str, int] = {}

    async def decide(request: web.Request) -> web.Response:
        row = (await request.json())["inputs"]["row"]
        met[row] = met.get(row, 0) + 1
        if met[row] <= refusals:
            return web.json_response({"error": {"code": "overloaded"}}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"id": row}, headers={"Pilotage-Release": "r"})

    app = web.Application()
    app.router.add_post("/decide", decide)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    replies, _ = await send_rows(f"http://127.0.0.1:{port}/decide", "key", [{"row": "a"}, {"row": "b"}])
    await runner.cleanup()
    return replies


def test_a_client_comes_back_when_the_gateway_has_too_much_to_do() -> None:
    replies = asyncio.run(_sent(refusals=3))
    assert [(reply.status, reply.id) for reply in replies] == [(200, "a"), (200, "b")]


def test_a_client_gives_up_at_last_and_tells_so() -> None:
    replies = asyncio.run(_sent(refusals=1_000))
    assert [(reply.status, reply.id) for reply in replies] == [(503, ""), (503, "")]
