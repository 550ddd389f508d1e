"""What the edits of several rules of HTTP/2 have in common."""

SESSION = "HTTP2/Session.swift"
CALLBACKS = "HTTP2/SessionCallbacks.swift"
CONTENT = "HTTP2/SessionContent.swift"
CLIENT = "HTTP2/ClientSession.swift"
ASSEMBLY = "HTTP2/HeadAssembly.swift"
FIELDS = "HTTP2/FieldList.swift"
SCAN = "HTTP2/FrameScan.swift"
FLOOD = "HTTP2/FloodGuard.swift"
PARSER = "HTTP1/HeadParser.swift"
STREAMS = "Proxy/Downstream/DownstreamHTTP2.swift"
CARRIER = "Proxy/Upstream/UpstreamCarrier.swift"
UPSTREAM = "Proxy/Upstream/UpstreamHTTP2.swift"
RESPONSE = "Proxy/Exchange/ResponseFlow.swift"
REWRITE = "Proxy/Exchange/HeaderRewrite.swift"
RELAY = "Proxy/Exchange/Relay.swift"
TUNNEL = "Proxy/Exchange/TunnelFlow.swift"
END = "Proxy/Exchange/ExchangeEnd.swift"
DRIVER = "Proxy/Exchange/ExchangeDriver.swift"

ERRORS = "errors of the connection have their code"
IGNORED = "frames and bits that mean nothing are ignored"
LETS_GO = "a stream that ends by an error lets go of its backend"
MALFORMED = "malformed requests reset their stream or get their status"

WALK = "    scan.walk(octets) { header in\n"
SEND = "    return ByteView(base: UnsafeMutablePointer(mutating: pointer), count: count)\n"
OPTION = "    nghttp2_option_set_no_closed_streams(options, 1)\n"


def put(place, value):
    """Changes an octet of the frame that has come; its header has nine."""
    return f"UnsafeMutablePointer(mutating: octets.pointer)[header.start + {place}] {value}"


def before(condition, action):
    """Deals with a frame in front of nghttp2, of which all is here that the condition looks at."""
    return (SESSION, WALK, WALK + f"""\
      if HERE, header.start >= 0, {condition} {{
        {action}
      }}
""")


def hidden(condition):
    """Such frames become frames of an unknown type, which nghttp2 does not look at."""
    return before(condition, put(3, "= 0xB0"))


def fatal(condition, code="PROTOCOL_ERROR"):
    """Such frames end the connection."""
    return before(condition, f"verdict = Verdict(cut: .broken, code: NGHTTP2_{code})")


def on_its_way(condition, action):
    """Deals with a frame that nghttp2 has made; its header is octets 0 to 8 behind `pointer`."""
    return (SESSION, SEND, f"    if HERE, {condition} {{ {action} }}\n{SEND}")


def dropped(condition):
    """Such frames of nghttp2's are not sent."""
    return on_its_way(condition, "return nextOctets()")


# nghttp2 looks at nothing of what RFC 9113 §8 says of messages.
UNCHECKED = (
    CALLBACKS, OPTION,
    f"{OPTION}    if HERE {{ nghttp2_option_set_no_http_messaging(options, 1) }}\n")


def each(test, *cases):
    """The test, with each of its cases."""
    return [f"{test} | {case}" for case in cases]
