"""Errors that the library raises on purpose. Each says what is wrong and, in `mend`, what to do about it."""


class SwarmError(Exception):
    """Base of all errors meant for users.

    Attributes:
        mend: one sentence that says how to put it right.
    """

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(problem)
        self.mend = mend

    def __str__(self) -> str:
        problem = super().__str__()
        return f"{problem} {self.mend}" if self.mend else problem


class NotAMember(SwarmError):
    """This address is not enrolled, barred, or past its authorised time."""


class InvitationRefused(SwarmError):
    """An invitation is expired, forged, for somebody else, or has too few signatures."""


class AgreementMissing(SwarmError):
    """A founder has not signed the manifest, or signed another one."""


class BallotRefused(SwarmError):
    """A proposal is expired, forged, for another swarm or ballot, or has too few signatures."""


class SchemaMismatch(SwarmError):
    """A model's names, shapes or dtypes differ from the genesis."""


class MalformedModel(SchemaMismatch):
    """A file is not safetensors, is truncated, or its head does not describe its bytes."""


class KernelFault(SwarmError):
    """This machine's arithmetic does not give the bits that every member must get: it must not attest merges."""


class InvalidUpdate(SwarmError):
    """Weights with NaN, infinity or values beyond maxAbs.

    Attributes:
        chunk: index of the first wrong chunk.
    """

    def __init__(self, problem: str, mend: str = "", *, chunk: int = 0) -> None:
        super().__init__(problem, mend)
        self.chunk = chunk


class ContentCorrupt(SwarmError):
    """Bytes that do not hash to what they were asked for by."""


class ContentUnavailable(SwarmError):
    """Nobody who was asked could serve the content."""


class StoreUnreachable(ContentUnavailable):
    """The IPFS node behind a content store does not answer, is too old, or refuses."""


class QuotaExceeded(SwarmError):
    """No room on disk, or the store's quota is used up."""


class ChainUnreachable(SwarmError):
    """No RPC endpoint answers."""


class WrongChain(SwarmError):
    """The RPC endpoint serves another chain, or no such contract is there."""


class TransactionFailed(SwarmError):
    """The contract refused a transaction.

    Attributes:
        error: name of the contract's custom error, or the node's message.
    """

    def __init__(self, problem: str, mend: str = "", *, error: str = "") -> None:
        super().__init__(problem, mend)
        self.error = error


class ConfigError(SwarmError):
    """A configuration file or option has an unknown, missing or impossible value."""


class HomeLocked(SwarmError):
    """Another process uses this home folder (and so this key)."""


class Contradiction(SwarmError):
    """Refused to sign: the journal holds a signature of ours that says otherwise."""


class PortInUse(SwarmError):
    """The address to listen on is taken."""


class LearnerFailed(SwarmError):
    """The user's learner raised; its exception is the `__cause__`."""


class SwarmWaiting(SwarmError):
    """A merge did not happen within the timeout; the swarm waits for others. Training may go on."""


class PeerUnreachable(SwarmError):
    """A member is not connected, or does not speak a protocol."""


class MessageRefused(SwarmError):
    """Bytes from another peer that are not a well-formed message."""
