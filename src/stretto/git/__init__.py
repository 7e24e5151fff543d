"""The only code that runs git: hardened plumbing."""
