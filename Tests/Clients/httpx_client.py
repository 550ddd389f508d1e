"""httpx over HTTP/2 against a listener with several certificates: says `ok` at the end.

usage: httpx_client.py PORT AUTHORITY NAME…
"""

import socket
import sys

import httpx

PORT, AUTHORITY, NAMES = sys.argv[1], sys.argv[2], sys.argv[3:]


resolve = socket.getaddrinfo
# Every name is here.
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)


def main():
    with httpx.Client(http2=True, verify=AUTHORITY, timeout=20) as client:
        for name in NAMES:
            for number in range(20):
                answer = client.request(
                    "POST" if number % 2 else "GET",
                    f"https://{name}:{PORT}/{number}",
                    content=b"x" * 50_000 if number % 2 else None,
                )
                assert answer.http_version == "HTTP/2", answer.http_version
                assert answer.status_code == 200, answer
            # Its certificate was verified, with this name.
            print("served", name, flush=True)
    print("ok", flush=True)


main()
