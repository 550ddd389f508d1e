"""A closed loop of keep-alive connections that checks every octet and notes who answered when."""

import asyncio
import time

from faulty_origin import expected


class Outcome:
    def __init__(self):
        self.requests = {"GET": 0, "POST": 0}
        # (method, what, when it ended, how long it took)
        self.errors = []
        self.wrong = 0
        # (when it ended, who answered, how long it took)
        self.answers = []
        self.posted = set()


class Client:
    """One connection: GETs, with a POST every fourth request where `posts` says so."""

    def __init__(self, port, number, stride, outcome, posts, stop):
        self.port = port
        self.number = number
        self.stride = stride
        self.outcome = outcome
        self.posts = posts
        self.stop = stop
        self.reader = self.writer = None

    async def run(self):
        while not self.stop.is_set():
            self.number += self.stride
            isPost = self.posts and (self.number // self.stride) % 4 == 0
            began = time.monotonic()
            method = "POST" if isPost else "GET"
            self.outcome.requests[method] += 1
            try:
                failure = await asyncio.wait_for(self.exchange(method, self.number), 15)
            except (OSError, asyncio.IncompleteReadError, EOFError) as error:
                failure = "cut short" if isinstance(error, EOFError) else "reset"
                self.leave()
            except asyncio.TimeoutError:
                failure = "hangs"
                self.leave()
            if failure:
                now = time.monotonic()
                self.outcome.errors.append((method, failure, now, now - began))
                await asyncio.sleep(0.005)
        self.leave()

    def leave(self):
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def exchange(self, method, number):
        began = time.monotonic()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        name = b"%d" % number
        if method == "POST":
            self.outcome.posted.add(name)
            text = b"POST /order/%s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" % name
        else:
            text = b"GET /item/%s HTTP/1.1\r\nHost: a\r\n\r\n" % name
        self.writer.write(text)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length, origin, closes = 0, "", False
        for line in head.split(b"\r\n")[1:]:
            lower = line.lower()
            if lower.startswith(b"content-length:"):
                length = int(line[15:])
            elif lower.startswith(b"x-origin:"):
                origin = line[9:].strip().decode()
            elif lower == b"connection: close":
                closes = True
        body = await self.reader.readexactly(length)
        if closes:
            self.leave()
        if status != 200:
            return str(status)
        if body != expected(name):
            self.outcome.wrong += 1
            return "wrong content"
        now = time.monotonic()
        self.outcome.answers.append((now, origin, now - began))
        return None


class Load:
    def __init__(self, port, connections=64, posts=True):
        self.outcome = Outcome()
        self.stop = asyncio.Event()
        self.tasks = [
            asyncio.create_task(
                Client(port, index, connections, self.outcome, posts, self.stop).run())
            for index in range(connections)
        ]

    async def end(self):
        self.stop.set()
        await asyncio.gather(*self.tasks)
        return self.outcome
