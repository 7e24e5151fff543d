-- Workspaces without a task, which the person made or adopted by name. `env`: its whole environment but for what was
-- captured and secrets; `path` is null until it was made once.
CREATE TABLE spaces (
  repo TEXT NOT NULL, name TEXT NOT NULL, root TEXT NOT NULL, path TEXT, branch TEXT, base TEXT NOT NULL,
  held TEXT NOT NULL, env TEXT NOT NULL, config TEXT NOT NULL, adopted INTEGER NOT NULL, ready INTEGER NOT NULL,
  created_at REAL NOT NULL,
  PRIMARY KEY (repo, name)
);
