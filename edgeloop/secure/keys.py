"""Keys that pairs of devices agree on, and what only one of them can open."""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SIZE = 32
"""Bytes of a key, private or public, and of a device's own seed."""


@dataclass(frozen=True)
class PrivateKey:
    """One side of an agreement, for one round."""

    secret: bytes

    @property
    def public(self) -> bytes:
        """What the other side needs of it."""
        return self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes, *facts: str) -> bytes:
        """Return the key of both sides (X25519, HKDF with SHA-256), for what the facts say only.

        Raises:
            ValueError: if the other side's is no usable key.
        """
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        info = b"edgeloop secure aggregation 1\0" + "\0".join(facts).encode()
        return HKDF(SHA256(), SIZE, salt=None, info=info).derive(shared)

    @property
    def _key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret)


def seal(key: bytes, content: bytes, bound: bytes) -> bytes:
    """Encrypt what a key is used for once, bound to its place (ChaCha20-Poly1305)."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), content, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        ValueError: if it is another key's, another place's, or was changed.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, bound)
    except InvalidTag as error:
        raise ValueError("shares that cannot be opened") from error


def commitment(seed: bytes) -> bytes:
    """Return what holds a device to its seed, and says nothing of it."""
    return hashlib.sha256(b"edgeloop seed\0" + seed).digest()
