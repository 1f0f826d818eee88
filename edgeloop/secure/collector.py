"""The server's side of a round of secure aggregation: it learns the sum, and no summand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeloop.secure import ring, shamir
from edgeloop.secure.agreement import Agreement, SecureError, points, sign
from edgeloop.secure.device import mask_key
from edgeloop.secure.keys import SIZE, PrivateKey, commitment
from edgeloop.secure.messages import Masked, PublicKeys, Revealed, SealedShares
from edgeloop.secure.ring import Ring


@dataclass
class Collector:
    """One round; each step is given all answers that came in its time.

    Attributes:
        agreement: the round's facts.
        keys: of those who begin, after step 1.
        shared: who has entrusted the others, after step 2.
        survivors: whose numbers are in the sum, after step 3.
    """

    agreement: Agreement
    keys: dict[str, PublicKeys] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    survivors: frozenset[str] = frozenset()
    _masked: dict[str, Ring] = field(default_factory=dict)

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

        Raises:
            SecureError: if too few have sent shares, or they make no secret that was committed to.
        """
        told = self._known(sent) & self.shared
        self._check_enough("sent shares", told)
        chosen = sorted(told)[: self.agreement.threshold]
        total = ring.add([self._masked[name] for name in sorted(self.survivors)])
        for name in sorted(self.survivors):
            total -= self.agreement.mask(self._seed(name, chosen, sent))
        for gone in sorted(self.shared - self.survivors):
            total -= self._left_over(gone, self._key(gone, chosen, sent))
        return total

    def _left_over(self, gone: str, key: PrivateKey) -> Ring:
        """Return what the survivors' masks with one who vanished add up to."""
        total = np.zeros(self.agreement.size, np.uint64)
        for name in self.survivors:
            each = self.agreement.mask(mask_key(key, self.keys[name], self.agreement, gone, name))
            total = total + each if sign(name, gone) > 0 else total - each
        return total

    def _seed(self, name: str, chosen: list[str], sent: Mapping[str, Revealed]) -> bytes:
        seed = self._secret(name, chosen, sent)
        if commitment(seed) != self.keys[name].seed_B.tobytes():
            raise SecureError(f"shares that make another seed of {name}")
        return seed

    def _key(self, name: str, chosen: list[str], sent: Mapping[str, Revealed]) -> PrivateKey:
        key = PrivateKey(self._secret(name, chosen, sent))
        if key.public != self.keys[name].mask_B.tobytes():
            raise SecureError(f"shares that make another key of {name}")
        return key

    def _secret(self, name: str, chosen: list[str], sent: Mapping[str, Revealed]) -> bytes:
        at, row = points(self.keys), list(self.keys).index(name)
        shares = {at[each]: sent[each].shares_NS[row].tobytes() for each in chosen}
        try:
            return shamir.combine(shares, SIZE)
        except ValueError as error:
            raise SecureError(f"{name}: {error}") from error

    def _known(self, sent: Iterable[str]) -> set[str]:
        """Return who has sent, of those who began."""
        return set(sent) & self.keys.keys()

    def _check_enough(self, what: str, names: Iterable[str]) -> None:
        count = len(set(names))
        if count < self.agreement.threshold:
            raise SecureError(f"{count} have {what}, and {self.agreement.threshold} must")
