"""What a PostgreSQL server keeps of a password (RFC 5803), made here so that no statement and no log holds it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

_ROUNDS = 4096


def verifier(password: str) -> str:
    """The text for `ALTER ROLE … PASSWORD` from which the password cannot be read."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    said = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ROUNDS}:{said[0]}${said[1]}:{said[2]}"
