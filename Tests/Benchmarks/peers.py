"""The proxies of the benchmark: their configurations, their processes, their versions."""

import dataclasses
import http.client
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / ".build" / "bench"


def free_port():
    """A port nobody listens on now. The kernel hands out ephemeral ports in random order, so two
    runs at once are unlikely to meet."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=10):
    """Returns when something accepts on `port`; raises when `process` ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"{process.args[0]} does not accept on {port}")


def room_for(name, connections):
    """Under a low limit of open files weir lowers its limit of connections (a third is kept for
    backends), and HAProxy (two descriptors for each connection, a pipe for every four) refuses to
    start."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = {"weir": (limit - 256) // 3 * 2, "haproxy": int((limit - 200) / 2.5)}
    return min(connections, most.get(name, connections))


def pinned(cpus, command):
    return command if cpus is None else ["taskset", "-c", cpus, *command]


@dataclasses.dataclass
class Job:
    """What all peers have to do in one scenario."""

    backends: int = 1
    routes: int = 1
    workers: int = 1
    connections: int = 12000
    balance: str = "least-connections"
    tls: bool = False
    # Clients speak HTTP/2; and backends do.
    http2: bool = False
    http2_backends: bool = False
    # MiB of cache; 0: nothing is stored.
    cache: int = 0
    # Varnish only: responses are found by their tags.
    tags: bool = False
    # weir only: whether it writes its access log.
    logs: bool = True
    # What a peer says of its backends' health checks.
    checks: str = ""


def certificate(directory):
    """A certificate and its key in one file, for all peers alike: ECDSA on P-256."""
    path = directory / "bench.pem"
    key = directory / "bench.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", str(key), "-out", str(path), "-days", "30", "-subj",
         "/CN=bench.example.com", "-addext", "subjectAltName=DNS:bench.example.com"],
        check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    path.chmod(0o644)
    return path


# What a listener says more where it speaks TLS, HTTP/2 without TLS, and HTTP/2 in TLS.
TLS = {
    "weir": "    tls {{\n        certificate {pem}\n    }}",
    "nginx": " ssl;\n        ssl_protocols TLSv1.2 TLSv1.3;\n"
             "        ssl_certificate {pem};\n        ssl_certificate_key {pem}",
    "haproxy": " ssl crt {pem} ssl-min-ver TLSv1.2",
    "nghttpx": "private-key-file={pem}\ncertificate-file={pem}\n",
    "h2o": "  ssl:\n    certificate-file: {pem}\n    key-file: {pem}\n"
           "    minimum-version: TLSv1.2",
}
HTTP2 = {"weir": "", "nginx": " http2", "haproxy": " proto h2", "nghttpx": "", "h2o": ""}
HTTP2_IN_TLS = TLS | {
    "nginx": TLS["nginx"].replace(" ssl;", " ssl http2;"),
    "haproxy": TLS["haproxy"] + " alpn h2,http/1.1",
}


def listener_words(name, job, directory):
    if not job.tls:
        return HTTP2[name] if job.http2 else ""
    return (HTTP2_IN_TLS if job.http2 else TLS)[name].format(pem=certificate(directory))


# What is said of backends that speak HTTP/2.
HTTP2_BACKENDS = {"weir": "    http2 on", "haproxy": " proto h2", "nghttpx": "proto=h2"}


# What each says where responses are stored: at the top, and where requests are passed on. nginx's
# files stay open and are read into one large buffer, which is the best it can here: 10.6 µs for a
# hit of 1 KiB and 18.9 for 64 KiB; its defaults took 14.7 and 25.7, sendfile 16.1 and 21.6.
CACHE = {
    "weir": ("cache main memory={mib}MiB\n", "    cache main ttl=1h\n"),
    "nginx": ("    proxy_cache_path {directory}/cache keys_zone=main:64m max_size={mib}m "
              "inactive=1h;\n    open_file_cache max=64;\n    output_buffers 1 128k;\n",
              "            proxy_cache main;\n            proxy_cache_valid 200 1h;\n"
              "            proxy_cache_lock on;\n"),
    "haproxy": ("cache main\n    total-max-size {mib}\n    max-object-size 1048576\n"
                "    max-age 3600\n    process-vary on\n",
                "    http-response set-header Cache-Control max-age=3600\n"
                "    http-request cache-use main\n    http-response cache-store main\n"),
    "varnish": ("", ""), "nghttpx": ("", ""), "h2o": ("", ""),
}


# Varnish's way to purge by tags: its own list of keys, which xkey keeps for it.
XKEY = {
    "IMPORT": "import xkey;\n",
    "TAGS": '    set beresp.http.xkey = regsuball(beresp.http.Cache-Tag, ",", " ");\n',
    "PURGE": """
sub vcl_recv {
    if (req.method == "PURGE") {
        return (synth(200, "matched " + xkey.purge(req.http.xkey-purge)));
    }
}
""",
}


class Origin:
    """The C origin on cpu 1; every address of 127/8 is a backend of it."""

    def __init__(self, cpus="1"):
        self.port = free_port()
        self.process = subprocess.Popen(
            pinned(cpus, [str(TOOLS / "origin"), str(self.port)]), stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the origin did not start")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def answered(self):
        """How many requests it has answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/answered")
        return int(connection.getresponse().getheader("X-Answered"))

    def addresses(self, count):
        for i in range(count):
            yield f"127.1.{i // 250}.{i % 250 + 1}:{self.port}"


class StreamOrigin(Origin):
    """The same in HTTP/2, for targets of `/bytes/1024`: nghttpd."""

    def __init__(self, cpus="1"):
        self.port = free_port()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-bench-origin-"))
        (self.directory / "bytes").mkdir()
        (self.directory / "bytes" / "1024").write_bytes(b"weir" * 256)
        self.process = subprocess.Popen(
            pinned(cpus, ["nghttpd", "--no-tls", "-d", str(self.directory), str(self.port)]),
            stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)

    def stop(self):
        super().stop()
        shutil.rmtree(self.directory, ignore_errors=True)


BALANCE = {
    "weir": {"least-connections": "least-connections", "hash": "hash path"},
    "nginx": {"least-connections": "least_conn;", "hash": "hash $uri consistent;"},
    "varnish": {"least-connections": ""}, "nghttpx": {"least-connections": ""},
    "h2o": {"least-connections": ""},
    "haproxy": {"least-connections": "balance leastconn",
                "hash": "balance uri\n    hash-type consistent sdbm avalanche"},
}


class Peer:
    """One proxy under test, started with `job`, stopped by `stop`."""

    def __init__(self, name, job, origin, cpus="0", wrapper=(), binary=None):
        self.name, self.job = name, job
        self.binary = binary or os.environ.get("WEIR_BINARY", ".build/release/weir")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"weir-bench-{name}-"))
        os.chmod(self.directory, 0o777)
        self.port = free_port()
        self.log = self.directory / "access.log"
        config = self._write_config(origin)
        self.stderr_path = self.directory / "stderr"
        with open(self.stderr_path, "wb") as stderr, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                pinned(cpus, [*wrapper, *self._command(config)]), stderr=stderr,
                stdout=log if name == "haproxy" else subprocess.DEVNULL)
        try:
            wait_for_port(self.port, self.process, 60 if wrapper else 10)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {self.stop()[-2000:]}") from None

    def _command(self, config):
        if self.name == "weir":
            return [self.binary, "run", "-c", config]
        if self.name == "nginx":
            return ["nginx", "-p", str(self.directory), "-c", config]
        if self.name == "varnish":
            return ["varnishd", "-F", "-a", f"127.0.0.1:{self.port}", "-f", config,
                    "-n", str(self.directory / "work"), "-s", f"malloc,{self.job.cache}m",
                    "-p", "thread_pools=1", "-p", "workspace_client=32k",
                    "-p", "timeout_idle=300"]
        if self.name == "nghttpx":
            return ["nghttpx", f"--conf={config}"]
        if self.name == "h2o":
            return ["h2o", "-c", config]
        return ["haproxy", "-db", "-f", config]

    def _write_config(self, origin):
        template = {"weir": "weir.conf", "nginx": "nginx.conf", "haproxy": "haproxy.cfg",
                    "varnish": "varnish.vcl", "nghttpx": "nghttpx.conf",
                    "h2o": "h2o.yaml"}[self.name]
        text = (HERE / "conf" / template).read_text()
        addresses = list(origin.addresses(self.job.backends))
        line = {"weir": "    backend {a}", "nginx": "        server {a};",
                "haproxy": "    server s{i} {a}{p}"}.get(self.name, "{a}")
        protocol = HTTP2_BACKENDS[self.name] if self.job.http2_backends else ""
        stored, used = (part.format(mib=self.job.cache, directory=self.directory)
                        for part in (CACHE[self.name] if self.job.cache else ("", "")))
        values = {
            "PORT": self.port, "LOG": self.log,
            "LOGGING": f"{self.log} format=json" if self.job.logs else "off",
            "DIRECTORY": self.directory,
            "ADMIN": self.directory / "admin.sock", "WORKERS": self.job.workers,
            "CONNECTIONS": room_for(self.name, self.job.connections), "ROUTES": self._routes(),
            "BALANCE": BALANCE[self.name][self.job.balance],
            "CHECKS": self.job.checks,
            **(XKEY if self.job.tags else dict.fromkeys(XKEY, "")),
            "CACHE": stored, "CACHED": used,
            "ORIGIN": addresses[0].split(":")[0], "ORIGINPORT": addresses[0].split(":")[1],
            "TLS": listener_words(self.name, self.job, self.directory),
            "FRONTEND": "" if self.job.tls else ";no-tls", "PROTOCOL": protocol,
            "BACKENDS": "\n".join(
                line.format(a=a, i=i, p=protocol) for i, a in enumerate(addresses)),
        }
        path = self.directory / template
        path.write_text(re.sub(r"@([A-Z]+)@", lambda m: str(values[m[1]]), text))
        return str(path)

    def _routes(self):
        """One route for each prefix that the load asks for (`/r0/`, `/r1/` …)."""
        if self.job.routes == 1:
            return ""
        names = [f"r{i}" for i in range(self.job.routes)]
        if self.name == "weir":
            return "\n".join(f"route */{n}/* {{\n    upstream app\n}}" for n in names)
        routes = self.directory / "routes.map"
        routes.write_text("".join(f"/{n}/ app\n" for n in names))
        return f"    use_backend %[path,map_beg({routes})]"

    def pids(self):
        """The process and all its descendants (nginx works in a child)."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    children = pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text()
                    queue.extend(int(child) for child in children.split())
            except OSError:
                continue
        return found

    def log_lines(self):
        with open(self.log, "rb") as log:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))

    def stop(self, keep=False):
        """Ends it gracefully, at the latest after 10 s; returns its standard error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()
        text = self.stderr_path.read_text(errors="replace")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        return text


def version(name):
    command = {"weir": [os.environ.get("WEIR_BINARY", ".build/release/weir"), "--version"],
               "nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"],
               "varnish": ["varnishd", "-V"], "nghttpx": ["nghttpx", "--version"],
               "h2o": ["h2o", "--version"]}[name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not installed"
    text = (done.stdout + done.stderr).strip().splitlines()
    numbers = re.search(r"\d+\.\d+[\w.+~-]*$|\d+\.\d+[\w.+~-]*", text[0]) if text else None
    return numbers[0] if numbers else (text[0] if text else "unknown")
