"""The other end of grpc_server.py, with weir between them: says `ok NAME` for each kind of call.

usage: grpc_client.py PORT AUTHORITY NAME
"""

import sys
import threading

import grpc

PORT, AUTHORITY, NAME = sys.argv[1:4]


def channel():
    credentials = grpc.ssl_channel_credentials(open(AUTHORITY, "rb").read())
    return grpc.secure_channel(
        f"ipv4:127.0.0.1:{PORT}",
        credentials,
        options=[
            ("grpc.ssl_target_name_override", NAME),
            ("grpc.default_authority", NAME),
            ("grpc.max_receive_message_length", 64 << 20),
        ],
    )


def expect(claim, *values):
    if not claim:
        raise AssertionError(values)


def metadata(pairs):
    return {key: value for key, value in pairs}


def unary(kinds):
    call = kinds.unary_unary("/kinds/Unary")
    answer, state = call.with_call(b"abc", metadata=(("x-ask", "hello"),), timeout=20)
    expect(answer == b"cba", answer)
    expect(metadata(state.initial_metadata())["x-first"] == "hello", state.initial_metadata())
    trailing = metadata(state.trailing_metadata())
    expect(trailing["x-last"] == "unary" and trailing["x-blob-bin"] == b"\x00\xff", trailing)
    expect(call(b"", timeout=20) == b"")
    large = bytes(range(256)) * 12_000
    expect(call(large, timeout=20) == large[::-1], "large")


def client_stream(kinds):
    call = kinds.stream_unary("/kinds/ClientStream")
    pieces = [b"x" * size for size in (0, 1, 1000, 100_000, 1_000_000)]
    answer, state = call.with_call(iter(pieces), timeout=20)
    expect(answer == b"1101001", answer)
    expect(metadata(state.trailing_metadata())["x-last"] == "client-stream")


def server_stream(kinds):
    state = kinds.unary_stream("/kinds/ServerStream")(b"500", timeout=20)
    expect(list(state) == [b"%d" % number for number in range(500)])
    expect(metadata(state.trailing_metadata())["x-last"] == "server-stream")


def both_stream(kinds):
    """Each message is sent only when the one before has come back: nothing may wait in between."""
    turn = threading.Semaphore(0)

    def requests():
        for number in range(100):
            yield b"m%d" % number
            turn.acquire()

    state = kinds.stream_stream("/kinds/BothStream")(requests(), timeout=20)
    for number in range(100):
        expect(next(state) == b"M%d" % number, number)
        turn.release()
    expect(list(state) == [])
    expect(metadata(state.trailing_metadata())["x-last"] == "both-stream")


def errors(kinds):
    try:
        kinds.unary_unary("/kinds/Fail")(b"", timeout=20)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.NOT_FOUND, error)
        expect(error.details() == "no such thing: 100 %", error)
        expect(metadata(error.trailing_metadata())["x-why"] == "asked", error)
    state = kinds.unary_stream("/kinds/FailLate")(b"", timeout=20)
    expect(next(state) == b"one")
    try:
        next(state)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.DATA_LOSS, error)
    try:
        kinds.unary_unary("/kinds/Missing")(b"", timeout=20)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.UNIMPLEMENTED, error)


def deadline(kinds):
    try:
        kinds.unary_unary("/kinds/Hold")(b"deadline", timeout=3)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error)


def cancellation(kinds):
    state = kinds.unary_stream("/kinds/HoldStream")(b"cancelled")
    expect(next(state) == b"begun")
    state.cancel()
    try:
        next(state)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.CANCELLED, error)


def together(kinds):
    call = kinds.unary_unary("/kinds/Unary")
    futures = [call.future(b"%d" % number, timeout=20) for number in range(300)]
    for number, future in enumerate(futures):
        expect(future.result() == (b"%d" % number)[::-1], number)


def main():
    with channel() as kinds:
        streams = (client_stream, server_stream, both_stream)
        for test in (unary, *streams, errors, deadline, cancellation, together):
            test(kinds)
            print("ok", test.__name__, flush=True)


main()
