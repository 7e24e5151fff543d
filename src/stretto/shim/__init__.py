"""The small process that owns a session's agent and outlives the daemon, and the daemon's side of its folder."""
