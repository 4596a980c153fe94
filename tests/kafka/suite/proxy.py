"""A TCP proxy before a broker, to be slow, to cut and to go silent at will. The broker advertises the proxy's port."""

import asyncio
import contextlib
import socket
import struct
import threading

CHUNK = 64 << 10


class Proxy:
    """Forwards a listening socket to a loopback port; its faults are switched while it runs. A context manager."""

    def __init__(self, listen, target):
        self.listen, self.target = listen, target
        self.latency, self.silent, self.refusing = 0.0, False, False
        self.lines, self.passed = set(), 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.open = threading.Event()

    def __enter__(self):
        self.thread.start()
        if not self.open.wait(10):
            raise OSError(f"the proxy could not serve {self.listen}")
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, sock=self.listen))
        self.open.set()
        self.loop.run_forever()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def reset(self):
        """Breaks every open connection by RST, with whatever is on its way."""
        self.loop.call_soon_threadsafe(self._reset)

    def _reset(self):
        for writer in list(self.lines):
            handle = writer.get_extra_info("socket")
            if handle is not None:
                with contextlib.suppress(OSError):
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there_writer}
        self.lines |= both
        ways = [self._forward(reader, there_writer), self._forward(there_reader, writer)]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        self.lines -= both
        for one in both:
            one.transport.abort()

    async def _forward(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                # Half-open: both ends believe in the connection, and nothing comes through.
                while self.silent:
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
                self.passed += len(data)
