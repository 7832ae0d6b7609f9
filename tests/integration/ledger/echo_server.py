"""A server that answers a line after recording it: what the process-level tests kill, starve and trace.

Run: python echo_server.py <journal folder> <steward public key, hex> [options as JSON]; it prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pilotage.errors import Unavailable
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter


async def main() -> None:
    folder, steward, options = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), json.loads(sys.argv[3])
    journal = JournalWriter(folder, worker=0, steward_key=steward, **options)
    recovery = await journal.open()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                await journal.record(FrameKind.decision, line.strip(), bytes(400))
                writer.write(b"answered " + line)
            except Unavailable as error:
                writer.write(error.code.encode() + b" " + line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1], "clean": recovery.clean}), flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
