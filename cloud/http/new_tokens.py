"""A new token for HTTP; nothing here serves any."""

import hashlib
import secrets


def new_token() -> tuple[str, str]:
    """Return a new token, and what a file of tokens has of it."""
    text = "elh-" + secrets.token_urlsafe(32)
    return text, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
