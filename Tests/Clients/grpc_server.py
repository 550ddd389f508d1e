"""A gRPC server over TLS: all four kinds of calls, with octets for messages, and health checks.

usage: grpc_server.py CERTIFICATE KEY

Says `port N`, and then a line for each call that ended before it was answered.
"""

import sys
import threading
from concurrent import futures

import grpc


def say(*words):
    print(*words, flush=True)


def unary(request, context):
    sent = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-first", sent.get("x-ask", "")),))
    context.set_trailing_metadata((("x-last", "unary"), ("x-blob-bin", b"\x00\xff")))
    return request[::-1]


def client_stream(requests, context):
    total = sum(len(request) for request in requests)
    context.set_trailing_metadata((("x-last", "client-stream"),))
    return str(total).encode()


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata((("x-last", "server-stream"),))


def both_stream(requests, context):
    for request in requests:
        yield request.upper()
    context.set_trailing_metadata((("x-last", "both-stream"),))


def fail(request, context):
    context.set_trailing_metadata((("x-why", "asked"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 %")


def fail_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "after one")


def hold(request, context):
    """Answers nothing for as long as anybody waits."""
    watch(request.decode(), context).wait(30)
    return b""


def hold_stream(request, context):
    ended = watch(request.decode(), context)
    yield b"begun"
    ended.wait(30)


def check(request, context):
    """grpc.health.v1.Health/Check, written by hand: Debian has the protocol in no package."""
    state = {"": 1, "shop.Well": 1, "shop.Ill": 2}.get(request[2:].decode())
    if state is None:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes((8, state))


def watch(name, context):
    """Says how much time the call has, and when it has ended, whoever ended it."""
    remaining = context.time_remaining()
    limited = "limited" if remaining is not None and remaining <= 5 else "unlimited"
    ended = threading.Event()

    def end():
        say("ended", name)
        ended.set()

    say("held", name, limited)
    context.add_callback(end)
    return ended


class Kinds(grpc.GenericRpcHandler):
    handlers = {
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(check),
        "/kinds/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/kinds/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "/kinds/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "/kinds/BothStream": grpc.stream_stream_rpc_method_handler(both_stream),
        "/kinds/Fail": grpc.unary_unary_rpc_method_handler(fail),
        "/kinds/FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "/kinds/Hold": grpc.unary_unary_rpc_method_handler(hold),
        "/kinds/HoldStream": grpc.unary_stream_rpc_method_handler(hold_stream),
    }

    def service(self, details):
        return self.handlers.get(details.method)


def main():
    certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers((Kinds(),))
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)])
    )
    server.start()
    say("port", port)
    server.wait_for_termination()


main()
