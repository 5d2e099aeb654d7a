"""The page at `/`: speech in a browser, questions, and where the memory is, head by head.

It is a client like any other: it hears over `/v1/realtime`, and draws what `/v1/edge/memory` says.
"""
