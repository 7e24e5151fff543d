"""SQLite: intent, facts, messages, approvals, questions, events."""
