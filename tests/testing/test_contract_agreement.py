"""The contract's model and the compiled contract do the same: random calls, good and bad, on both."""

from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, replace
from random import Random

from swarmp2p.core.config import Config
from swarmp2p.core.messages import Attestation, Invite, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import CHUNK_SIZE, NO_ADDRESS, NO_DIGEST, Address, Phase, VoteKind, bits
from swarmp2p.identity import Key, keccak256, recover
from swarmp2p.testing.contract_model import Block, ContractModel, Reverted
from tests.testing.bare_evm import CallReverted, ContractOnEvm

START = 1_800_000_000
KEYS = [Key.from_seed(f"member {i}") for i in range(9)]
SEEDS, STEPS = (*range(12), 18, 31), 80
"""18 and 31 come to the end of a swarm, and report there."""


def config_of(random: Random) -> Config:
    members = random.randint(1, 5)
    f = random.randint(0, min(2, members - 1))
    return Config(
        genesis=random.randbytes(32),
        size=random.choice((0, 1, CHUNK_SIZE, 3 * CHUNK_SIZE, 20 * CHUNK_SIZE + 7)),
        schema=random.randbytes(32),
        update_size=100,
        update_schema=random.randbytes(32),
        rule=random.randbytes(32),
        purpose=random.randbytes(32),
        manifest=random.randbytes(32),
        initial_members=members,
        f=f,
        k_max=random.choice((1, 2, 4, 16)),
        min_updates=random.randint(f + 1, f + 2),
        frac_bps=random.choice((0, 3333, 5000, 10_000)),
        collect_timeout=random.choice((30, 100)),
        grace=random.choice((0, 10)),
        merge_timeout=50,
        max_missed=random.choice((1, 2)),
        max_rounds=random.choice((3, 8)),
        patience=random.choice((0, 2)),
        abandon_after=random.choice((500, 10_000)),
        k_invite=1,
        treasury=bytes(20),
        founders=tuple(key.address for key in KEYS[: random.randint(1, members)]),
    )


class Pair:
    """A model and a contract, and calls that go to both."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.config = config_of(self.random)
        self.evm = ContractOnEvm(self.config, START)
        block = Block(self.evm.number, START)
        self.model = ContractModel.deploy(self.config, self.evm.state().salt, keccak256, block)
        self.counts: Counter[str] = Counter()
        self.terms: Counter[Address] = Counter()

    def both(self, what: str, on_evm: Callable[[], object], on_model: Callable[[], object]) -> None:
        """The same call on both: the same success or the same custom error."""
        evm = model = ""
        try:
            on_evm()
        except CallReverted as error:
            evm = error.name
        try:
            on_model()
        except Reverted as error:
            model = error.name
        assert model == evm, f"{what}: model {model or 'succeeds'}, contract {evm or 'succeeds'}"
        self.counts[f"{what} {evm or 'succeeded'}"] += 1

    def check(self) -> None:
        """The same state."""
        expected, found = self.evm.state(), self.model.state()
        if expected != found:
            fields = zip(expected.__dataclass_fields__, astuple(expected), astuple(found), strict=True)
            raise AssertionError([(name, left, right) for name, left, right in fields if left != right])

    def step(self) -> None:
        random = self.random
        if random.random() < 0.5:
            self.evm.number += 1
            self.evm.timestamp += random.choice((0, 1, 5, 10, 30, 60, 400))
            self.model.block.number, self.model.block.timestamp = self.evm.number, self.evm.timestamp
        early = (self.enrol,) * 6 if len(self.model.members) < self.config.initial_members else ()
        phase = {Phase.COLLECTING: (self.submit,) * 8, Phase.MERGING: (self.finalize,) * 8, Phase.STOPPED: ()}
        rare = (self.enrol, self.ready, self.advance, self.advance, self.submit, self.finalize, self.report)
        odd = (self.set_addresses, self.leaders, self.leave, self.execute, self.execute, self.stop_abandoned)
        random.choice((*early, *phase[self.model.phase], *rare, *odd))()
        self.check()

    # Calls

    def anyone(self) -> Address:
        members = [self.model.at[index] for index in bits(self.model.held)]
        if members and self.random.random() < 0.9:
            return self.random.choice(members)
        return self.random.choice(KEYS).address

    def usually(self, good: int, *bad: int) -> int:
        return good if self.random.random() < 0.95 else self.random.choice(bad)

    def enrol(self) -> None:
        random = self.random
        key = random.choice(KEYS)
        sender = key.address
        known = self.model.members.get(sender)
        now = self.model.block.timestamp
        invite = Invite(
            invitee=sender if random.random() < 0.95 else KEYS[0].address,
            term=self.usually(known.term if known else 0, 0, 7),
            max_weight=self.usually(random.choice((5, 2**32 - 1)), 0),
            expires=self.usually(now + random.choice((100, 1000, 100_000)), now - 1, now),
            stake=self.usually(0, 1),
            purpose=self.config.purpose if random.random() < 0.95 else NO_DIGEST,
            deadline=self.usually(now + 100, now - 1, now),
        )
        signed = invite if random.random() < 0.95 else replace(invite, term=invite.term + 1)
        signers = random.sample(KEYS, random.randint(0, 5))
        signatures = [key.sign(signing_digest(signed, self.evm.domain, keccak256)) for key in signers]
        if random.random() < 0.05:
            signatures.append(b"\x01" * random.choice((64, 65)))
        digest = signing_digest(invite, self.evm.domain, keccak256)
        recovered = [recover(digest, signature) or bytes(20) for signature in signatures]
        addresses = b"x" * self.usually(random.randint(0, 256), 257)
        self.both(
            "enrol",
            lambda: self.evm.call(sender, "enrol", astuple(invite), signatures, addresses),
            lambda: self.model.enrol(sender, invite, recovered, addresses),
        )

    def set_addresses(self) -> None:
        sender, text = self.anyone(), b"y" * self.usually(3, 257)
        self.both(
            "setAddresses",
            lambda: self.evm.call(sender, "setAddresses", text),
            lambda: self.model.set_addresses(sender, text),
        )

    def ready(self) -> None:
        sender = self.anyone()
        self.both("ready", lambda: self.evm.call(sender, "ready"), lambda: self.model.ready(sender))

    def submit(self) -> None:
        random, sender = self.random, self.anyone()
        waiting = [self.model.at[index] for index in bits(self.model.held & ~self.model.submitted)]
        if waiting and random.random() < 0.8:
            sender = random.choice(waiting)
        round_ = self.usually(self.model.round, self.model.round + 1, 0)
        digest = random.randbytes(32) if random.random() < 0.97 else NO_DIGEST
        weight = self.usually(random.randint(1, 5), 0, 6, 2**32 - 1)
        metric = random.choice((0, 1, -1, 2**63 - 1, -(2**63)))
        flags = self.usually(random.choice((0, 4, 5, 6, 7)), 1, 2, 8, 255)
        arguments = (round_, digest, weight, metric, flags)
        self.both(
            "submitUpdate",
            lambda: self.evm.call(sender, "submitUpdate", *arguments),
            lambda: self.model.submit_update(sender, *arguments),
        )

    def advance(self) -> None:
        sender = self.anyone()
        idle = [self.random.randrange(10) for _ in range(self.random.choice((0, 0, 1, 3)))]
        self.both("advance", lambda: self.evm.call(sender, "advance", idle), lambda: self.model.advance(sender, idle))

    def finalize(self) -> None:
        random, model = self.random, self.model
        round_ = self.usually(model.round, model.round + 1)
        excluded = 0
        for index in bits(model.submitted):
            if random.random() < 0.2:
                excluded |= 1 << index
        if random.random() < 0.03:
            excluded |= 1 << 9
        merged = random.randbytes(32) if random.random() < 0.85 else NO_DIGEST
        k = self.usually(model.k if merged != NO_DIGEST else 0, model.k + 1)
        slices = tuple(random.randbytes(32) for _ in range(k))
        wanted = [key for key in KEYS if key.address in model.members]
        if random.random() < 0.1 or not wanted:
            wanted = KEYS
        signers = random.sample(wanted, random.randint(min(len(wanted), self.config.f), len(wanted)))
        if signers and random.random() < 0.03:
            signers.append(signers[0])
        signatures: list[tuple[int, bytes]] = []
        pairs: list[tuple[int, Address]] = []
        for key in signers:
            mask = (1 << model.k) - 1 if random.random() < 0.85 else random.getrandbits(20)
            body = Attestation(round_, model.inputs, excluded, merged, slices, mask)
            digest = signing_digest(body, self.evm.domain, keccak256)
            signature = key.sign(digest if random.random() < 0.98 else keccak256(digest))
            signatures.append((mask, signature))
            pairs.append((mask, recover(digest, signature) or bytes(20)))
        sender = self.anyone()
        self.both(
            "finalize",
            lambda: self.evm.call(sender, "finalize", round_, excluded, merged, slices, signatures),
            lambda: model.finalize(sender, round_, excluded, merged, slices, pairs),
        )

    def leave(self) -> None:
        sender = self.anyone()
        if self.random.random() < 0.3:
            self.both("leave", lambda: self.evm.call(sender, "leave"), lambda: self.model.leave(sender))

    def execute(self) -> None:
        random, model = self.random, self.model
        kind = random.choice((VoteKind.EXPEL, VoteKind.EXPEL_AND_SLASH, VoteKind.ROLLBACK, VoteKind.REOPEN))
        if model.phase is Phase.STOPPED and random.random() < 0.8:
            kind = VoteKind.REOPEN
        elif random.random() < 0.05:
            kind = VoteKind.STOP
        arg, target = 0, NO_ADDRESS
        if kind is VoteKind.ROLLBACK:
            arg = random.choice(
                (0, model.best_round, model.results[model.head_round].parent_round, model.head_round, 2)
                if model.head_round
                else (0, 1)
            )
        elif kind is VoteKind.REOPEN:
            arg = model.merged_rounds + self.usually(3, 0)
        else:
            arg, target = self.usually(0, 1), random.choice(KEYS).address
        now = model.block.timestamp
        vote = Vote(kind, target, arg, self.usually(model.ballot, model.ballot + 1), self.usually(now, now - 1))
        wanted = [key for key in KEYS if key.address in model.members and key.address != target]
        signers = random.sample(wanted, random.randint(len(wanted) // 2, len(wanted))) + random.sample(KEYS, 1)
        signatures = [key.sign(signing_digest(vote, self.evm.domain, keccak256)) for key in signers]
        sender = self.anyone()
        self.both(
            "execute",
            lambda: self.evm.call(sender, "execute", astuple(vote), signatures),
            lambda: model.execute(sender, vote, [key.address for key in signers]),
        )

    def stop_abandoned(self) -> None:
        sender = self.anyone()
        self.both(
            "stopAbandoned",
            lambda: self.evm.call(sender, "stopAbandoned"),
            lambda: self.model.stop_abandoned(sender),
        )

    def report(self) -> None:
        sender, flags = self.anyone(), self.random.choice((4, 5, 6, 7, 0, 1, 9))
        self.both(
            "report", lambda: self.evm.call(sender, "report", -5, flags), lambda: self.model.report(sender, -5, flags)
        )

    def leaders(self) -> None:
        round_ = self.usually(self.model.round, 0)
        found: list[object] = []
        self.both(
            "leaders",
            lambda: found.append(self.evm.call(self.anyone(), "leaders", round_)),
            lambda: found.append(self.model.leaders(round_)),
        )
        if found:
            words, accounts = found
            assert isinstance(words, bytes)
            assert isinstance(accounts, tuple)
            assert words[64:] == b"".join(bytes(12) + account for account in accounts)


def test_random_calls_have_the_same_effect_on_both() -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        print(f"seed {seed}")
        pair = Pair(seed)
        pair.check()
        for _ in range(STEPS):
            pair.step()
        counts += pair.counts
    calls = ("enrol", "setAddresses", "ready", "submitUpdate", "advance", "finalize", "report", "leaders")
    for call in (*calls, "leave", "execute", "stopAbandoned"):
        assert counts[f"{call} succeeded"] > 0, counts
    errors = {name.split()[1] for name in counts}
    assert len(errors) > 24, sorted(errors)
