"""A device's side of a round of secure aggregation: four answers, each given once."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from edgeloop.secure import shamir
from edgeloop.secure.agreement import Agreement, SecureError, pair, points, sign
from edgeloop.secure.keys import SIZE, PrivateKey, commitment, seal, unseal
from edgeloop.secure.messages import Masked, PublicKeys, Revealed, SealedShares, as_array
from edgeloop.secure.ring import Ring
from edgeloop.secure.shamir import SHARE_BYTES, Draw

_TAG = 16  # bytes that sealing adds
SEALED_BYTES = 2 * SHARE_BYTES + _TAG


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
    """

    def __init__(self, name: str, agreement: Agreement, draw: Draw = secrets.token_bytes) -> None:
        self.name = name
        self._agreement = agreement
        self._draw = draw
        self._mask_key, self._channel = PrivateKey(draw(SIZE)), PrivateKey(draw(SIZE))
        self._seed = draw(SIZE)
        self._keys: dict[str, PublicKeys] = {}
        self._held: dict[str, _Held] = {}
        self._given: set[str] = set()

    def public_keys(self) -> PublicKeys:
        """Step 1: return what the device is known by."""
        parts = self._mask_key.public, self._channel.public, commitment(self._seed)
        return PublicKeys(*map(as_array, parts))

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
            SecureError: if it was done before, too few have sent shares, or they cannot be opened.
        """
        self._once("masked")
        names = sorted(self._keys)
        others = [n for n, known in zip(names, sent.known_N, strict=True) if known]
        self._agreement.check_begun({*others, self.name})
        for name in others:
            if name != self.name:
                self._held[name] = self._opened(name, sent.sealed_NS[names.index(name)].tobytes())
        total = values_V + self._agreement.mask(self._seed)
        for name in self._held.keys() - {self.name}:
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
        there = set(survivors)
        if len(there) < self._agreement.threshold or not there <= self._held.keys():
            raise SecureError(f"{len(there)} devices in the sum, or some that sent no shares")
        rows_NS = np.zeros((len(self._keys), SHARE_BYTES), np.uint8)
        for row, name in enumerate(sorted(self._keys)):
            if name in self._held:
                held = self._held[name]
                rows_NS[row] = as_array(held.seed if name in there else held.key)
        return Revealed(rows_NS)

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
