-- What was seen of a session (core.evidence), and what is believed of it.
ALTER TABLE sessions ADD COLUMN signs TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sessions ADD COLUMN belief TEXT NOT NULL DEFAULT '{}';
