"""F, the floor everything is compared with: a bare asyncio Protocol with httptools on uvloop.

It reads a 200-byte POST with a key header and answers 32 bytes, keep-alive. ``python -m bench.floor`` serves
it until killed; ``Floor`` runs that as a process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httptools
import uvloop

from bench.harness import REPOSITORY, SERVER_CPU, Slice, load, pin

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 32\r\n\r\n" + b"x" * 32
REQUEST = (
    b"POST /api/v0.1/configurations HTTP/1.1\r\nHost: localhost\r\n"
    b"DD-Api-Key: 0123456789abcdef0123456789abcdef\r\n"
    b"Content-Type: application/x-protobuf\r\nContent-Length: 200\r\n\r\n" + b"x" * 200
)


class EchoProtocol(asyncio.Protocol):
    """Reads headers and body, answers always the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.key = b""
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"dd-api-key":
            self.key = value

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        b"".join(self.body)
        self.body.clear()
        self.transport.write(ANSWER)  # type: ignore[attr-defined]


class Floor:
    """The floor's server as a process on the server's cpu, and its slices."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.floor"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        pin(self._process.pid, SERVER_CPU)
        self._requests = folder / "floor.requests"
        self._requests.write_bytes(b"%010d%s" % (len(REQUEST), REQUEST))

    def take(self, seconds: float) -> Slice:
        script = REPOSITORY / "bench" / "load.lua"
        return load(self.url, script, str(self._requests), pid=self._process.pid, seconds=seconds)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
