#!/usr/bin/env python3
"""What clients see when backends fail: each fault under load against the real daemon with four
real backends. `make scenarios`, or: WEIR_BINARY=… scenarios.py [--only a,b] [--write FILE].
"""

import argparse
import asyncio
import collections
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from load import Load

HERE = pathlib.Path(__file__).parent
NAMES = ["a", "b", "c", "d"]
VICTIM = "b"


def free_port():
    """With the one 1000 above free as well, for the control port."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 60000:
                continue
            try:
                second.bind(("127.0.0.1", port + 1000))
            except OSError:
                continue
            return port


class Origin:
    def __init__(self, name, folder):
        self.name = name
        self.port = free_port()
        self.ledger = folder / f"{name}.ledger"
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "faulty_origin.py"), str(self.port), self.name,
            str(self.ledger), stdout=asyncio.subprocess.PIPE)
        assert await self.process.stdout.readline() == b"ready\n", "the backend did not start"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)

    async def become(self, mode):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port + 1000)
        writer.write(b"PUT /mode/%s HTTP/1.1\r\n\r\n" % mode.encode())
        await reader.read()
        writer.close()

    def executed(self):
        return self.ledger.read_bytes().split(b"\n")[:-1] if self.ledger.exists() else []


class Proxy:
    """The daemon, with every line of its event log and when it came."""

    def __init__(self, command, port):
        self.command = command
        self.port = port
        self.lines = []
        self.process = None

    async def start(self, ready):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stderr=asyncio.subprocess.PIPE)
        self.reading = asyncio.create_task(self.read())
        for _ in range(1000):
            if ready is None or any(ready in line for _, line in self.lines):
                break
            await asyncio.sleep(0.01)
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.02)

    async def read(self):
        while line := await self.process.stderr.readline():
            self.lines.append((time.monotonic(), line.decode().rstrip()))

    def first(self, text, after):
        return next((at for at, line in self.lines if text in line and at >= after), None)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), 60)


def weir(folder, origins, extra):
    port = free_port()
    backends = "\n".join(f"  backend 127.0.0.1:{o.port} name={o.name}" for o in origins)
    (folder / "proxy.conf").write_text(f"""
workers 2
admin unix:{folder}/admin.sock
listener web {{
  bind 127.0.0.1:{port}
}}
upstream app {{
{backends}
  health-check GET /healthz
  attempt-timeout 1s
{extra}
}}
route * {{
  upstream app
}}
""")
    binary = os.environ["WEIR_BINARY"]
    return Proxy([binary, "run", "-c", str(folder / "proxy.conf")], port)


def haproxy(folder, origins):
    port = free_port()
    servers = "\n".join(f"  server {o.name} 127.0.0.1:{o.port}" for o in origins)
    (folder / "haproxy.cfg").write_text(f"""
global
  maxconn 2000
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  retries 3
  option redispatch 1
  retry-on all-retryable-errors
frontend web
  bind 127.0.0.1:{port}
  default_backend app
backend app
  balance leastconn
  http-request disable-l7-retry if METH_POST
{servers}
""")
    return Proxy(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], port)


class Scene:
    """What a scenario does, and when it did it."""

    def __init__(self, proxy, origins):
        self.proxy = proxy
        self.origins = {origin.name: origin for origin in origins}
        self.victim = self.origins[VICTIM]
        self.broken = self.healed = None

    async def pause(self, seconds):
        await asyncio.sleep(seconds)

    async def mode(self, mode, settle=2.5):
        """The victim is in this mode for a while, then well again."""
        self.broken = time.monotonic()
        await self.victim.become(mode)
        await self.pause(settle)
        await self.victim.become("well")
        self.healed = time.monotonic()


async def kill(scene):
    scene.broken = time.monotonic()
    scene.victim.kill()
    await scene.pause(2)
    await scene.victim.start()
    scene.healed = time.monotonic()


async def flap(scene):
    scene.broken = time.monotonic()
    for _ in range(3):
        await scene.victim.become("refuse")
        await scene.pause(1)
        await scene.victim.become("well")
        await scene.pause(1)
    scene.healed = time.monotonic() - 1


async def all_down(scene):
    scene.broken = time.monotonic()
    for origin in scene.origins.values():
        await origin.become("refuse")
    await scene.pause(2.5)
    await scene.victim.become("well")
    scene.healed = time.monotonic()
    await scene.pause(1)
    for origin in scene.origins.values():
        await origin.become("well")


RETRY_500 = "  circuit-breaker count=5xx\n  retry on=connect-failure,reset,timeout,500,502,503,504"
SCENARIOS = {
    "kill": ("kill -9, started again after 2 s", kill, ""),
    "hole": ("accepts and never answers, 2.5 s", lambda s: s.mode("hole"), ""),
    "refuse": ("refuses connections, 2.5 s", lambda s: s.mode("refuse"), ""),
    "error": ("every answer 500 (`count=5xx`, `retry on=…,500`)", lambda s: s.mode("error"),
              RETRY_500),
    "error-plain": ("every answer 500 (`count=5xx`)", lambda s: s.mode("error"),
                    "  circuit-breaker count=5xx"),
    "truncate": ("every answer cut in half, 2.5 s", lambda s: s.mode("truncate"), ""),
    "slow": ("every answer 300 ms late, 2.5 s", lambda s: s.mode("slow"), ""),
    "flap": ("refuses and serves, a second each, three times", flap, ""),
    "close": ("closes kept connections without a word, 2.5 s", lambda s: s.mode("close"), ""),
    "all-down": ("all four refuse; one is back after 2.5 s", all_down, ""),
}


async def run(name, only_haproxy=False):
    title, act, extra = SCENARIOS[name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-scenario-"))
    origins = [Origin(each, folder) for each in NAMES]
    proxy = haproxy(folder, origins) if only_haproxy else weir(folder, origins, extra)
    try:
        for origin in origins:
            await origin.start()
        await proxy.start(None if only_haproxy else "ready")
        await asyncio.sleep(0.3)
        load = Load(proxy.port)
        await asyncio.sleep(1.5)
        scene = Scene(proxy, origins)
        await act(scene)
        await asyncio.sleep(2.5)
        outcome = await load.end()
        await proxy.stop()
        return title, report(name, scene, outcome, proxy, origins)
    finally:
        for origin in origins:
            if origin.process and origin.process.returncode is None:
                origin.kill()
                await origin.process.wait()
        if proxy.process and proxy.process.returncode is None:
            proxy.process.kill()
        shutil.rmtree(folder)


def seconds(value):
    return "–" if value is None else f"{max(0.0, value):.2f} s"


def report(name, scene, outcome, proxy, origins):
    executed = collections.Counter(n for origin in origins for n in origin.executed())
    twice = sum(1 for count in executed.values() if count > 1)
    errors = {"GET": collections.Counter(), "POST": collections.Counter()}
    for method, what, _, _ in outcome.errors:
        errors[method][what] += 1
    broken, healed = scene.broken, scene.healed
    outs = [
        at for text in ("circuit breaker open", "health check failed")
        if (at := proxy.first(f"app/{VICTIM}: {text}", broken)) is not None
    ]
    during = [a for a in outcome.answers if broken + 0.3 <= a[0] <= healed]
    slow = [a for a in during if a[1] == VICTIM]
    share = len(slow) / len(during) * 100 if during else 0
    back = next((a[0] for a in outcome.answers if a[1] == VICTIM and a[0] >= healed), None)
    late = [took for _, _, at, took in outcome.errors] + [took for _, _, took in outcome.answers]
    unavailable = sorted(t for _, what, _, t in outcome.errors if what == "503")
    return {
        "requests": sum(outcome.requests.values()),
        "get": errors["GET"], "post": errors["POST"], "twice": twice, "wrong": outcome.wrong,
        "out": min(outs) - broken if outs else None,
        "back": back - healed if back else None,
        "share": share, "slowest": max(late),
        "unavailable": unavailable[len(unavailable) // 2] if unavailable else None,
        "log": [line for _, line in proxy.lines],
    }


def written(counter):
    if not counter:
        return "0"
    return ", ".join(f"{count} × {what}" for what, count in counter.most_common())


def row(title, result):
    return (
        f"| {title} | {result['requests']} | {written(result['get'])} | {written(result['post'])} "
        f"| {result['twice']} | {result['wrong']} | {seconds(result['out'])} "
        f"| {seconds(result['back'])} | {result['share']:.1f} % | {seconds(result['slowest'])} |")


HEADER = (
    "| fault of one backend of four | requests | GET errors | POST errors | POST executed twice "
    "| wrong content | out after | back after | its share meanwhile | slowest request |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")


def write(path, table):
    begin, end = "<!-- scenarios -->\n", "<!-- end of scenarios -->"
    text = pathlib.Path(path).read_text()
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    pathlib.Path(path).write_text(f"{head}{begin}{table}\n{end}{tail}")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--write")
    parser.add_argument("--log", action="store_true", help="show the daemon's event log")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(SCENARIOS)
    rows = []
    bad = []
    print(HEADER, flush=True)
    for name in names:
        title, result = await run(name)
        rows.append(row(title, result))
        print(rows[-1], flush=True)
        if result["unavailable"] is not None:
            print(f"<!-- {name}: half of the 503 within {result['unavailable'] * 1000:.1f} ms -->")
        if options.log:
            print("\n".join(result["log"]))
        if result["twice"] or result["wrong"]:
            bad.append(name)
        if name == "close" and shutil.which("haproxy"):
            _, other = await run(name, only_haproxy=True)
            rows.append(row("the same, HAProxy in front", other))
            print(rows[-1], flush=True)
    if options.write:
        write(options.write, "\n".join([HEADER] + rows))
    if bad:
        sys.exit(f"wrong content or a POST executed twice: {', '.join(bad)}")


if __name__ == "__main__":
    asyncio.run(main())
