-- Intent, facts and messages. Derived values (stage, state, reason) are not stored, except in `views`: the last
-- derived view of each task, so that a change of it becomes an event exactly once.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE repos (
  key TEXT PRIMARY KEY, root TEXT NOT NULL, landed INTEGER NOT NULL DEFAULT 0,
  frozen TEXT, data TEXT NOT NULL DEFAULT '{}', created_at REAL NOT NULL
);

CREATE TABLE runs (
  id TEXT PRIMARY KEY, repo TEXT NOT NULL, root TEXT NOT NULL, title TEXT NOT NULL, context TEXT NOT NULL,
  plan_path TEXT, plan_text TEXT NOT NULL, base TEXT NOT NULL, target TEXT NOT NULL, agent TEXT NOT NULL,
  open_limit INTEGER NOT NULL, approve TEXT NOT NULL, pin_base INTEGER NOT NULL, push INTEGER NOT NULL,
  checkout TEXT NOT NULL, config TEXT NOT NULL, env TEXT NOT NULL, paused INTEGER NOT NULL, created_at REAL NOT NULL
);
CREATE INDEX runs_repo ON runs (repo, created_at);

CREATE TABLE tasks (
  uid TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id), repo TEXT NOT NULL, id TEXT NOT NULL,
  position INTEGER NOT NULL, title TEXT NOT NULL, spec TEXT NOT NULL, accept TEXT NOT NULL, kind TEXT NOT NULL,
  role TEXT NOT NULL, needs TEXT NOT NULL, files TEXT NOT NULL, tables TEXT NOT NULL, priority INTEGER NOT NULL,
  lands INTEGER NOT NULL, fields TEXT NOT NULL, created_at REAL NOT NULL, wanted TEXT NOT NULL, paused INTEGER NOT NULL,
  interrupt INTEGER NOT NULL, admitted_at REAL, base TEXT, branch TEXT, kept TEXT, head TEXT, tree TEXT, patch TEXT,
  diff TEXT NOT NULL, workspace TEXT, bay INTEGER, attempts TEXT NOT NULL, outcome TEXT, outcome_reason TEXT NOT NULL,
  ended_at REAL, landed TEXT, note TEXT NOT NULL, report TEXT, cleaned INTEGER NOT NULL,
  UNIQUE (run, id)
);
CREATE INDEX tasks_run ON tasks (run);
CREATE INDEX tasks_open ON tasks (repo) WHERE outcome IS NULL;

CREATE TABLE sessions (
  id TEXT PRIMARY KEY, task TEXT NOT NULL, role TEXT NOT NULL, agent TEXT NOT NULL, model TEXT, mode TEXT NOT NULL,
  conversation TEXT, generation INTEGER NOT NULL, folder TEXT NOT NULL, started_at REAL NOT NULL, ended_at REAL,
  end_reason TEXT, exit_code INTEGER, status TEXT NOT NULL, status_at REAL NOT NULL, evidence TEXT NOT NULL,
  cursor INTEGER NOT NULL, parser TEXT NOT NULL,
  UNIQUE (task, generation)
);
CREATE INDEX sessions_live ON sessions (task) WHERE ended_at IS NULL;

CREATE TABLE messages (
  task TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL, text TEXT NOT NULL,
  state TEXT NOT NULL, created_at REAL NOT NULL, session TEXT, number INTEGER, data TEXT, delivered_at REAL,
  ended_at REAL, result TEXT, reason TEXT NOT NULL, output TEXT NOT NULL, settled INTEGER NOT NULL, head TEXT,
  PRIMARY KEY (task, n)
) WITHOUT ROWID;
CREATE UNIQUE INDEX messages_number ON messages (session, number) WHERE number IS NOT NULL;

CREATE TABLE items (
  id TEXT PRIMARY KEY, task TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL,
  options TEXT NOT NULL, payload TEXT NOT NULL, opened_at REAL NOT NULL, session TEXT, generation INTEGER NOT NULL,
  closed_at REAL, answer TEXT, answered_at REAL, applied_at REAL,
  UNIQUE (task, key)
);
CREATE INDEX items_open ON items (task) WHERE closed_at IS NULL;

CREATE TABLE checks (
  id INTEGER PRIMARY KEY, task TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, command TEXT NOT NULL,
  tree TEXT NOT NULL, environment TEXT NOT NULL, result TEXT, started_at REAL NOT NULL, seconds REAL, head TEXT,
  output TEXT, reason TEXT NOT NULL
);
CREATE INDEX checks_task ON checks (task, tree);
CREATE INDEX checks_tree ON checks (tree, command) WHERE purpose = 'gate';

CREATE TABLE approvals (
  task TEXT NOT NULL, head TEXT NOT NULL, base TEXT NOT NULL, patch TEXT NOT NULL, by TEXT NOT NULL, at REAL NOT NULL,
  revoked_at REAL
);
CREATE INDEX approvals_task ON approvals (task);

CREATE TABLE comments (
  id INTEGER PRIMARY KEY, task TEXT NOT NULL, head TEXT, path TEXT, line INTEGER, text TEXT NOT NULL, at REAL NOT NULL,
  sent_at REAL
);
CREATE INDEX comments_task ON comments (task);

CREATE TABLE queue (
  id INTEGER PRIMARY KEY, task TEXT NOT NULL, repo TEXT NOT NULL, target TEXT NOT NULL, head TEXT NOT NULL,
  patch TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, enqueued_at REAL NOT NULL, updated_at REAL NOT NULL,
  old TEXT, candidate TEXT, tree TEXT, cause TEXT, files TEXT NOT NULL, output TEXT, settled INTEGER NOT NULL
);
CREATE INDEX queue_task ON queue (task);
CREATE INDEX queue_open ON queue (repo, target) WHERE state IN ('waiting', 'testing', 'landing');

CREATE TABLE usage (
  id INTEGER PRIMARY KEY, task TEXT NOT NULL, session TEXT, n INTEGER, key TEXT NOT NULL, model TEXT,
  input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL, cost TEXT, cost_source TEXT, at REAL NOT NULL,
  UNIQUE (task, key)
);

CREATE TABLE removals (
  id TEXT PRIMARY KEY, task TEXT, repo TEXT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL, at REAL NOT NULL,
  undone_at REAL, purged_at REAL
);

CREATE TABLE trust (
  repo TEXT NOT NULL, hash TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (repo, hash)
);

CREATE TABLE views (
  uid TEXT PRIMARY KEY, stage TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL
);

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, repo TEXT, run TEXT, task TEXT, type TEXT NOT NULL,
  data TEXT NOT NULL
);
