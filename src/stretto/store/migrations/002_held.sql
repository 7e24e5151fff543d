-- What a task's workspace holds besides its worktree, as the variables by which its processes know it.
ALTER TABLE tasks ADD COLUMN held TEXT NOT NULL DEFAULT '{}';
