"""The rules of docs/HTTP2.md, switched off one by one; they stand in http2_*.py."""

import http2_backends
import http2_frames
import http2_messages

RULES = {**http2_frames.RULES, **http2_messages.RULES, **http2_backends.RULES}
