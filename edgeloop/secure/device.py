"""A device's side of a round of secure aggregation: four answers, each given once."""

import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from edgeloop.secure import shamir
from edgeloop.secure.agreement import Agreement, SecureError, pair, points, sign
from edgeloop.secure.keys import SIZE, PrivateKey, commitment, seal, unseal
from edgeloop.secure.messages import Masked, PublicKeys, Revealed, SealedShares, as_array
from edgeloop.secure.ring import Ring
from edgeloop.secure.shamir import SHARE_BYTES, Draw

_TAG = 16  # bytes that sealing adds
SEALED_BYTES = 2 * SHARE_BYTES + _TAG


HELD_BYTES = 2 * SHARE_BYTES
STEPS = "share", "masked", "reveal"
"""What a device answers after its keys, in this order."""


@dataclass(frozen=True)
class Secrets:
    """What a device draws for one round, and for no other.

    Attributes:
        mask: its key for masks, `SIZE` bytes, as each.
        channel: its key for what only one device shall open.
        seed: of the mask of its own.
    """

    mask: bytes
    channel: bytes
    seed: bytes

    @classmethod
    def drawn(cls, draw: Draw = secrets.token_bytes) -> Self:
        """Draw them."""
        return cls(draw(SIZE), draw(SIZE), draw(SIZE))

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return what `joined` has made bytes of."""
        return cls(content[:SIZE], content[SIZE : 2 * SIZE], content[2 * SIZE :])

    def joined(self) -> bytes:
        """Return them as bytes."""
        return self.mask + self.channel + self.seed

    def public(self, size: int) -> PublicKeys:
        """Return what the device is known by; its vector has so many numbers."""
        mask, channel = PrivateKey(self.mask).public, PrivateKey(self.channel).public
        seed_B = as_array(commitment(self.seed))
        return PublicKeys(as_array(mask), as_array(channel), seed_B, size)


@dataclass(frozen=True)
class _Held:
    """What another device has entrusted: a share of its key for masks, and of its seed."""

    key: bytes
    seed: bytes


class SecureDevice:
    """One device in one round.

    Args:
        name: the device's.
        agreement: the round's facts.
        draw: random bytes; another round must have others.
        own: what was drawn before the agreement was known; drawn now if not given.

    Attributes:
        shared: who has sent shares, this device too; known after step 3.
    """

    def __init__(
        self,
        name: str,
        agreement: Agreement,
        draw: Draw = secrets.token_bytes,
        own: Secrets | None = None,
    ) -> None:
        self.name = name
        self._agreement = agreement
        self._draw = draw
        self._own = Secrets.drawn(draw) if own is None else own
        self._mask_key, self._channel = PrivateKey(self._own.mask), PrivateKey(self._own.channel)
        self._seed = self._own.seed
        self._keys: dict[str, PublicKeys] = {}
        self._held: dict[str, _Held] = {}
        self._given: set[str] = set()
        self.shared: frozenset[str] = frozenset()

    @property
    def held(self) -> Mapping[str, bytes]:
        """What others have entrusted, `HELD_BYTES` each, and its own part."""
        return {name: each.key + each.seed for name, each in self._held.items()}

    def continued(
        self,
        keys: Mapping[str, PublicKeys],
        held: Mapping[str, bytes],
        shared: Collection[str],
        given: Collection[str],
    ) -> Self:
        """Go on with what was written down of the steps before.

        Args:
            keys: of all who take part.
            held: as `held` was.
            shared: as `shared` was.
            given: of `STEPS`, those that were answered.
        """
        self._keys, self.shared, self._given = dict(keys), frozenset(shared), set(given)
        self._held = {n: _Held(b[:SHARE_BYTES], b[SHARE_BYTES:]) for n, b in held.items()}
        return self

    def public_keys(self) -> PublicKeys:
        """Step 1: return what the device is known by."""
        return self._own.public(self._agreement.size)

    def share(self, keys: Mapping[str, PublicKeys]) -> SealedShares:
        """Step 2: entrust all others with shares of what removes the device's masks.

        Args:
            keys: of all who take part, this one's too.

        Raises:
            SecureError: if it was done before, there are too few or too many, or a key is not as it
                should be.
        """
        self._once("share")
        self._agreement.check_begun(keys)
        self._check_keys(keys)
        self._keys = dict(keys)
        at = points(keys)
        key_shares, seed_shares = (
            shamir.split(each, self._agreement.threshold, list(at.values()), self._draw)
            for each in (self._mask_key.secret, self._seed)
        )
        self._held[self.name] = _Held(key_shares[at[self.name]], seed_shares[at[self.name]])
        rows_NS = np.zeros((len(at), SEALED_BYTES), np.uint8)
        for row, name in enumerate(sorted(keys)):
            if name != self.name:
                content = key_shares[at[name]] + seed_shares[at[name]]
                bound = self._agreement.bound(self.name, name)
                rows_NS[row] = as_array(seal(self._channel_key(self.name, name), content, bound))
        return SealedShares(rows_NS, np.array([name != self.name for name in sorted(keys)]))

    def masked(self, values_V: Ring, sent: SealedShares) -> Masked:
        """Step 3: keep the others' shares, and return the device's numbers, masked.

        Args:
            values_V: encoded.
            sent: a row for each device, sealed for this one.

        Raises:
            SecureError: if it was done before, or too few have sent shares that can be opened. A
                share that cannot be is its sender's fault, and no reason to leave: nothing is
                revealed of that one.
        """
        self._once("masked")
        names = sorted(self._keys)
        rows = zip(names, sent.known_N, strict=True)
        others = {name for name, known in rows if known} - {self.name}
        self.shared = frozenset({*others, self.name})
        self._agreement.check_begun(self.shared)
        for name in others:
            with suppress(SecureError):
                self._held[name] = self._opened(name, sent.sealed_NS[names.index(name)].tobytes())
        if len(self._held) < self._agreement.threshold:
            raise SecureError(f"only {len(self._held) - 1} shares of {len(others)} can be opened")
        total = values_V + self._agreement.mask(self._seed)
        for name in others:
            mask = self._agreement.mask(self._pair_key(name))
            total = total + mask if sign(self.name, name) > 0 else total - mask
        return Masked(total.view(np.int64))

    def reveal(self, survivors: Collection[str]) -> Revealed:
        """Step 4: return shares of the seeds of those who are in the sum, and of others' keys.

        Both of one device would say what its numbers are; so this is answered once in a round.

        Raises:
            SecureError: if it was done before, or there are too few or strangers among them.
        """
        self._once("reveal")
        there, names = set(survivors), sorted(self._keys)
        if len(there) < self._agreement.threshold or not there <= self.shared:
            raise SecureError(f"{len(there)} devices in the sum, or some that sent no shares")
        if self.name not in there:
            raise SecureError("a sum without this device's numbers")
        rows_NS = np.zeros((len(names), SHARE_BYTES), np.uint8)
        for row, name in enumerate(names):
            if (held := self._held.get(name)) is not None:
                rows_NS[row] = as_array(held.seed if name in there else held.key)
        return Revealed(rows_NS, np.array([name in self._held for name in names]))

    def _once(self, step: str) -> None:
        if step in self._given:
            raise SecureError(f"step {step} is answered once in a round")
        self._given.add(step)

    def _check_keys(self, keys: Mapping[str, PublicKeys]) -> None:
        """Refuse keys that are not one's own, or the same of two."""
        mine = self.public_keys()
        held = keys.get(self.name)
        if held is None or held.mask_B.tobytes() != mine.mask_B.tobytes():
            raise SecureError(f"the keys of {self.name} are not its own")
        every = [each.tobytes() for key in keys.values() for each in (key.mask_B, key.channel_B)]
        if len(set(every)) != len(every):
            raise SecureError("two keys are the same")

    def _opened(self, sender: str, sealed: bytes) -> _Held:
        try:
            key = self._channel_key(sender, self.name)
            content = unseal(key, sealed, self._agreement.bound(sender, self.name))
        except ValueError as error:
            raise SecureError(f"{sender}: {error}") from error
        return _Held(content[:SHARE_BYTES], content[SHARE_BYTES:])

    def _channel_key(self, sender: str, receiver: str) -> bytes:
        """Return the key of what one sends to the other; each way has its own, used once."""
        other = receiver if sender == self.name else sender
        facts = "channel", *self._agreement.facts, sender, receiver
        return self._channel.agree(self._keys[other].channel_B.tobytes(), *facts)

    def _pair_key(self, other: str) -> bytes:
        return mask_key(self._mask_key, self._keys[other], self._agreement, self.name, other)


def mask_key(
    secret: PrivateKey, public: PublicKeys, agreement: Agreement, one: str, other: str
) -> bytes:
    """Return the key of a pair's mask."""
    return secret.agree(public.mask_B.tobytes(), "mask", *agreement.facts, *pair(one, other))
