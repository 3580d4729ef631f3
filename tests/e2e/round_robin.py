"""A proxy before several of the same: each connection goes to the next one that takes it.

`python round_robin.py PORT HOST:PORT ...`
"""

import asyncio
import contextlib
import itertools
import sys


async def main(port: int, backends: list[tuple[str, int]]) -> None:
    """Until it is killed."""
    turn = itertools.cycle(range(len(backends)))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turn)
        for number in range(len(backends)):
            host, its_port = backends[(first + number) % len(backends)]
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                there = await asyncio.wait_for(asyncio.open_connection(host, its_port), 2.0)
                break
        else:
            writer.close()
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    server = await asyncio.start_server(handle, "0.0.0.0", port)
    await server.serve_forever()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()


if __name__ == "__main__":
    pairs = [argument.rpartition(":") for argument in sys.argv[2:]]
    asyncio.run(main(int(sys.argv[1]), [(host, int(port)) for host, _, port in pairs]))
