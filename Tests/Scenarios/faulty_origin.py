#!/usr/bin/env python3
"""A backend whose faults are switched on while it runs: faulty_origin.py PORT NAME LEDGER.

GET /item/N answers the content that `expected` gives for N; POST /order/ID answers the same and
writes ID to the ledger first, a line for each time it was executed, so that the ledger outlives a
SIGKILL. Modes are set with `PUT /mode/NAME` on a control port (PORT + 1000), never seen by weir.
"""

import asyncio
import os
import socket
import sys

DELAY = 0.002


def expected(number):
    line = b"%s:0123456789abcdefghijklmnopqrstuvwxyz\n" % number
    return line * 12


class Backend:
    def __init__(self, port, name, ledger):
        self.port = port
        self.name = name.encode()
        self.ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.mode = b"well"
        self.listener = None
        self.connections = set()
        self.beginning = set()

    def set_mode(self, mode):
        self.mode = mode
        if mode == b"refuse":
            self.refuse()
        elif self.listener is None:
            self.listen()

    def listen(self):
        """Without a server of asyncio's: one that is closed loses, open and unread, the connections
        that it has accepted in the same turn of its loop. To clients they are a black hole."""
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self.listener, self.accept)

    def accept(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            accepted.setblocking(False)
            task = loop.create_task(
                loop.connect_accepted_socket(lambda: Connection(self), accepted))
            self.beginning.add(task)
            task.add_done_callback(self.beginning.discard)

    def refuse(self):
        if self.listener:
            asyncio.get_running_loop().remove_reader(self.listener)
            self.listener.close()
            self.listener = None
        for connection in list(self.connections):
            connection.transport.abort()


class Connection(asyncio.Protocol):
    def __init__(self, backend):
        self.backend = backend
        self.buffer = b""
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        if self.backend.mode == b"refuse":
            transport.abort()
            return
        self.backend.connections.add(self)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, _):
        self.backend.connections.discard(self)

    def data_received(self, data):
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length:]
            method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
            self.request(method, target)

    def request(self, method, target):
        backend = self.backend
        if backend.mode == b"hole":
            return
        delay = DELAY
        if target == b"/healthz":
            delay = 0
        elif backend.mode == b"slow":
            delay = 0.3
        if method == b"POST":
            os.write(backend.ledger, target.rsplit(b"/", 1)[1] + b"\n")
        asyncio.get_running_loop().call_later(delay, self.answer, target)

    def answer(self, target):
        backend = self.backend
        if self.transport.is_closing() or backend.mode == b"hole":
            return
        body = expected(target.rsplit(b"/", 1)[1])
        status = b"200 OK"
        mode = backend.mode if target != b"/healthz" else b"well"
        if mode == b"error":
            status, body = b"500 Internal Server Error", b"no\n"
        head = b"HTTP/1.1 %s\r\nX-Origin: %s\r\nContent-Length: %d\r\n\r\n" % (
            status, backend.name, len(body))
        if mode == b"truncate":
            self.transport.write(head + body[: len(body) // 2])
            self.transport.close()
            return
        self.transport.write(head + body)
        if mode == b"close":
            # Without having said so: the next request may be on its way already.
            self.transport.close()


async def control(backend, reader, writer):
    line = await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    backend.set_mode(line.split(b" ")[1].rsplit(b"/", 1)[1])
    writer.write(b"HTTP/1.1 204 Done\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def main():
    backend = Backend(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    backend.listen()
    await asyncio.start_server(
        lambda reader, writer: control(backend, reader, writer), "127.0.0.1", backend.port + 1000)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
