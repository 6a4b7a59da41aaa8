"""What a simulated peer still knows after a crash."""

from swarmp2p.core.messages import Attestation, Claim, Signed
from swarmp2p.core.store import Report, RoundStore, Update
from swarmp2p.core.types import Address, Bitmap, Digest
from swarmp2p.testing.simulator.chain import Transaction


class Journal:
    """Own signatures, own update, own report, transactions under way."""

    def __init__(self, me: Address) -> None:
        self.me = me
        self.update: Update | None = None
        self.report: Report | None = None
        self.pending: dict[Transaction, None] = {}
        """Transactions that were meant to be sent and are not known to be mined."""
        self._signed: dict[tuple[int, Digest], list[Signed]] = {}

    def add(self, signed: Signed) -> None:
        """Write down an own signature before it leaves the process."""
        self._signed.setdefault((signed.body.round, signed.body.inputs), []).append(signed)

    def messages_of(self, current: RoundStore) -> list[Signed]:
        """Own messages of a round, in the order in which they were signed."""
        return self._signed.get((current.round, current.inputs), [])

    def contradicts(self, body: Claim | Attestation) -> bool:
        """Whether signing this would say another thing about a slice or a model than before (section 7)."""
        said: dict[tuple[Bitmap, int], Digest] = {}
        models: dict[Bitmap, tuple[Digest, tuple[Digest, ...]]] = {}
        for signed in self._signed.get((body.round, body.inputs), []):
            if isinstance(signed.body, Claim | Attestation):
                said.update(_statements(signed.body))
            if isinstance(signed.body, Attestation):
                models[signed.body.excluded] = (signed.body.merged, signed.body.slices)
        if isinstance(body, Attestation):
            before = models.get(body.excluded)
            if before is not None and before != (body.merged, body.slices):
                return True
        return any(said.get(key, digest) != digest for key, digest in _statements(body).items())


def _statements(body: Claim | Attestation) -> dict[tuple[Bitmap, int], Digest]:
    if isinstance(body, Claim):
        return {(body.excluded, body.slice): body.digest}
    return {(body.excluded, j): digest for j, digest in enumerate(body.slices) if body.mask >> j & 1}
