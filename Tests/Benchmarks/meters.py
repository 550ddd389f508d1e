"""What is measured of a proxy: CPU time, memory, system calls, instructions."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import peers


class InvalidRun(Exception):
    """The load saw an error, or not the octets it asked for: such a run says nothing."""


def cpu_seconds(pids):
    """On-CPU time of all threads, in seconds: exact (scheduler), not sampled (utime)."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text()
            total += int(text.split()[0])
    return total / 1e9


def user_and_system_seconds(pids):
    """utime and stime: their sum agrees with cpu_seconds, their split is sampled by the tick."""
    user = system = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    tick = os.sysconf("SC_CLK_TCK")
    return user / tick, system / tick


def anonymous_bytes(pids):
    """RssAnon: memory of the process itself, without its file mappings."""
    total = 0
    for pid in pids:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        total += int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024
    return total


class Load:
    """One run of the load generator on cpu 1."""

    def __init__(self, port, cpus="1", **options):
        command = [str(peers.TOOLS / "load"), "--port", str(port)]
        for name, value in options.items():
            if value is None or value is False:
                continue
            command.append("--" + name.replace("_", "-"))
            if value is not True:
                command.append(str(value))
        self.process = subprocess.Popen(peers.pinned(cpus, command), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def result(self):
        import json
        line = self.process.stdout.readline()
        if not line:
            raise InvalidRun(f"the load generator ended with {self.process.wait()}")
        outcome = json.loads(line)
        if outcome["errors"] > 0 or outcome["requests"] == 0:
            raise InvalidRun(outcome["first_error"] or "no request completed")
        return outcome

    def finish(self):
        self.process.stdin.close()
        self.process.wait()


class StreamLoad:
    """The same by h2load, which counts octets and does not compare them."""

    def __init__(self, port, target, length, connections, streams, cpus="1", tls=False,
                 requests=None, seconds=None, rate=None):
        self.length, self.requests = length, requests
        self.log = tempfile.NamedTemporaryFile(prefix="weir-h2load-")
        scheme = "https" if tls else "http"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}",
                   "--tls13-ciphers=TLS_AES_128_GCM_SHA256", f"--log-file={self.log.name}",
                   f"-n{requests}" if requests else f"-D{seconds:g}",
                   f"{scheme}://127.0.0.1:{port}{target}"]
        # Requests a second, of each connection.
        command += [f"--rps={rate}"] if rate else []
        self.process = subprocess.Popen(peers.pinned(cpus, command), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def result(self):
        text = self.process.communicate()[0]
        counted = re.search(r"(\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
                            r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
        content = re.search(r"(\d+)\) data", text)
        seconds = re.search(r"finished in ([\d.]+)(m?s)", text)
        if not (counted and content and seconds):
            raise InvalidRun(f"h2load said: {text[-500:]}")
        _, started, done, succeeded, failed, errored, late = map(int, counted.groups())
        octets, wanted = int(content[1]), self.requests or done
        # What is under way when time is up has brought some of its octets.
        most = (done if self.requests else started) * self.length
        is_whole = succeeded >= wanted and wanted * self.length <= octets <= most
        if failed or errored or late or not is_whole:
            raise InvalidRun(f"h2load said: {text[-700:]}")
        times = sorted(int(line.split()[2]) for line in open(self.log.name))
        return {"requests": succeeded, "octets": octets,
                "seconds": float(seconds[1]) / (1000 if seconds[2] == "ms" else 1),
                "p50_us": times[len(times) // 2], "p99_us": times[len(times) * 99 // 100]}

    def finish(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def run_load(port, http2=False, **options):
    load = (StreamLoad if http2 else Load)(port, **options)
    try:
        return load.result()
    finally:
        load.finish()


def measured_load(peer, **options):
    """Runs the load and returns its outcome with the proxy's CPU time of the same period."""
    pids = peer.pids()
    cpu, (user, system) = cpu_seconds(pids), user_and_system_seconds(pids)
    outcome = run_load(peer.port, **options)
    pids = peer.pids()
    outcome["cpu"] = cpu_seconds(pids) - cpu
    user_after, system_after = user_and_system_seconds(pids)
    ticks = (user_after - user) + (system_after - system)
    outcome["user_share"] = (user_after - user) / ticks if ticks else 0
    return outcome


def system_calls(peer, few, many, **options):
    """Calls per request by name: the difference between a run of `many` and one of `few`."""
    counts = []
    for requests in (few, many):
        report = peer.directory / f"strace.{requests}"
        command = ["strace", "-f", "-c", "-o", str(report)]
        for pid in peer.pids():
            command += ["-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        while b"attached" not in tracer.stderr.readline():
            if tracer.poll() is not None:
                raise InvalidRun("strace could not attach")
        run_load(peer.port, requests=requests, **options)
        time.sleep(0.2)  # strace counts what the proxy does right after the last answer, too
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        counts.append(parse_strace(report.read_text()))
    names = sorted(set(counts[0]) | set(counts[1]))
    per_request = {n: (counts[1].get(n, 0) - counts[0].get(n, 0)) / (many - few) for n in names}
    return {n: round(v, 3) for n, v in per_request.items() if abs(v) >= 0.0005}


def parse_strace(text):
    counts = {}
    for line in text.splitlines():
        match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if match and match[2] != "total":
            counts[match[2]] = int(match[1])
    return counts


def instructions(name, job, origin, few, many, **options):
    """User-space instructions per request, by callgrind: two fresh processes, `few` and `many`
    requests; the difference leaves out the start and the first use of everything."""
    totals = []
    # Valgrind of Debian 12 gives up on newer debug sections; it needs the symbols only.
    stripped = tempfile.NamedTemporaryFile(prefix="weir-stripped-", delete=False).name
    source = os.environ.get("WEIR_BINARY", ".build/release/weir")
    subprocess.run(["strip", "--strip-debug", "-o", stripped, source], check=True)
    for requests in (few, many):
        wrapper = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        peer = peers.Peer(name, job, origin, wrapper=wrapper, binary=stripped)
        try:
            run_load(peer.port, requests=requests, **options)
        finally:
            text = peer.stop()
        collected = re.findall(r"Collected : (\d+)", text)
        if not collected:
            raise InvalidRun(f"callgrind said nothing: {text[-500:]}")
        totals.append(max(int(count) for count in collected))
    os.unlink(stripped)
    return (totals[1] - totals[0]) / (many - few)
