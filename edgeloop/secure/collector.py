"""The server's side of a round of secure aggregation: it learns the sum, and no summand."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from edgeloop.secure import ring, shamir
from edgeloop.secure.agreement import Agreement, SecureError, SpoiledError, points, sign
from edgeloop.secure.device import mask_key
from edgeloop.secure.keys import SIZE, PrivateKey, commitment
from edgeloop.secure.messages import Masked, PublicKeys, Revealed, SealedShares
from edgeloop.secure.ring import Ring

MOST_TRIED = 500
"""Choices of shares for one secret: enough to find the others' lie where a few have lied."""


@dataclass
class Collector:
    """One round; each step is given all answers that came in its time.

    Attributes:
        agreement: the round's facts.
        keys: of those who begin, after step 1.
        shared: who has entrusted the others, after step 2.
        survivors: whose numbers are in the sum, after step 3.
        liars: who has told false shares, as far as that was found, after step 4.
    """

    agreement: Agreement
    keys: dict[str, PublicKeys] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    survivors: frozenset[str] = frozenset()
    liars: frozenset[str] = frozenset()
    _masked: dict[str, Ring] = field(default_factory=dict)
    _told: dict[str, Revealed] = field(default_factory=dict)

    def begin(self, keys: Mapping[str, PublicKeys]) -> Mapping[str, PublicKeys]:
        """Step 1: return what all are told.

        Raises:
            SecureError: if too few or too many begin.
        """
        self.agreement.check_begun(keys)
        self.keys = dict(sorted(keys.items()))
        return self.keys

    def pass_on(self, sent: Mapping[str, SealedShares]) -> dict[str, SealedShares]:
        """Step 2: return what each is told: the others' shares for it.

        Raises:
            SecureError: if too few have sent theirs.
        """
        names = list(self.keys)
        self.shared = frozenset(self._known(sent))
        self._check_enough("entrusted the others", self.shared)
        found = {}
        for place, name in enumerate(names):
            if name in self.shared:
                given = [n in self.shared and n != name for n in names]
                blank = np.zeros_like(sent[name].sealed_NS[0])
                rows = [
                    sent[n].sealed_NS[place] if known else blank
                    for n, known in zip(names, given, strict=True)
                ]
                found[name] = SealedShares(np.stack(rows), np.array(given))
        return found

    def collect(self, sent: Mapping[str, Masked]) -> frozenset[str]:
        """Step 3: keep masked numbers; return whose there are, which all are told.

        Raises:
            SecureError: if there are too few.
        """
        fit = {
            name: each.values_V.view(np.uint64)
            for name, each in sent.items()
            if name in self.shared and len(each.values_V) == self.agreement.size
        }
        self._check_enough("sent numbers", fit)
        self._masked, self.survivors = fit, frozenset(fit)
        return self.survivors

    def total(self, sent: Mapping[str, Revealed]) -> Ring:
        """Step 4: return the sum of the survivors' numbers.

        A false share is found by what its device has committed to, and other ones take its place.

        Raises:
            SecureError: if too few have sent shares.
            SpoiledError: if no so many of them make a secret.
        """
        told = self._known(sent) & self.shared
        self._check_enough("sent shares", told)
        self._told = {name: sent[name] for name in sorted(told)}
        total = ring.add([self._masked[name] for name in sorted(self.survivors)])
        for name in sorted(self.survivors):
            total -= self.agreement.mask(self._secret(name, self._is_seed))
        for gone in sorted(self.shared - self.survivors):
            total -= self._left_over(gone, PrivateKey(self._secret(gone, self._is_key)))
        return total

    def _left_over(self, gone: str, key: PrivateKey) -> Ring:
        """Return what the survivors' masks with one who vanished add up to."""
        total = np.zeros(self.agreement.size, np.uint64)
        for name in self.survivors:
            each = self.agreement.mask(mask_key(key, self.keys[name], self.agreement, gone, name))
            total = total + each if sign(name, gone) > 0 else total - each
        return total

    def _is_seed(self, name: str, found: bytes) -> bool:
        return commitment(found) == self.keys[name].seed_B.tobytes()

    def _is_key(self, name: str, found: bytes) -> bool:
        return PrivateKey(found).public == self.keys[name].mask_B.tobytes()

    def _secret(self, name: str, proves: Callable[[str, bytes], bool]) -> bytes:
        """Return a device's secret; note who has told a false share of it.

        Raises:
            SpoiledError: if no shares make one that proves right.
        """
        at, row = points(self.keys), list(self.keys).index(name)
        shares = {
            each: told.shares_NS[row].tobytes()
            for each, told in self._told.items()
            if told.known_N[row] and each not in self.liars
        }

        def combined(chosen: Sequence[str]) -> bytes | None:
            with suppress(ValueError):
                found = shamir.combine({at[each]: shares[each] for each in chosen}, SIZE)
                return found if proves(name, found) else None
            return None

        for tried, chosen in enumerate(self._choices(sorted(shares))):
            if (found := combined(chosen)) is not None:
                if tried:
                    others = sorted(shares.keys() - set(chosen))
                    false = [each for each in others if combined([*chosen[1:], each]) is None]
                    self.liars |= frozenset(false)
                return found
        raise SpoiledError(name, len(shares))

    def _choices(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Yield those whose shares to try: first without anybody's lie, then without one, ..."""
        threshold, seen = self.agreement.threshold, set[tuple[str, ...]]()
        for count in range(len(names) - threshold + 1):
            for aside in itertools.combinations(names, count):
                chosen = tuple(name for name in names if name not in aside)[:threshold]
                if chosen not in seen:
                    seen.add(chosen)
                    yield chosen
                if len(seen) >= MOST_TRIED:
                    return

    def _known(self, sent: Iterable[str]) -> set[str]:
        """Return who has sent, of those who began."""
        return set(sent) & self.keys.keys()

    def _check_enough(self, what: str, names: Iterable[str]) -> None:
        count = len(set(names))
        if count < self.agreement.threshold:
            raise SecureError(f"{count} have {what}, and {self.agreement.threshold} must")
