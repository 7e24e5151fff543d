"""The per-session socket: what an agent may ask of stretto, and nothing more.

`protocol` says what goes over the wire, `client` is the agent's side (no asyncio), `server` the daemon's.
"""
