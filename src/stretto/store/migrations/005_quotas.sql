-- The last that agents told of the windows in which their vendors count: how full each is, and when it begins anew.
CREATE TABLE quotas (
    agent TEXT NOT NULL,
    "window" TEXT NOT NULL,
    used REAL,
    resets_at REAL,
    exhausted INTEGER NOT NULL DEFAULT 0,
    at REAL NOT NULL,
    PRIMARY KEY (agent, "window")
) STRICT;
