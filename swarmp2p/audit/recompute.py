"""Merges again what content is still held, and compares (docs/protocol.md, sections 5, 6 and 8).

Members may drop updates once they are merged: what is not here any more is reported, and is no fault.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from swarmp2p.audit.report import Input, Recomputed, Report, RoundReport, expect, misfit, shown
from swarmp2p.content.unixfs import HASH_SIZE, cid, leaf_at, root, slice_digest
from swarmp2p.core.config import Config
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, InvalidUpdate, MalformedModel
from swarmp2p.core.schema import LENGTH_SIZE, Schema, head_length, parse_schema
from swarmp2p.core.slices import chunk_range
from swarmp2p.core.types import Digest
from swarmp2p.merge.rule import RoundInputs, Rule
from swarmp2p.merge.validate import check_chunk


class Source(Protocol):
    """Content that is still held. Nothing that it gives is believed. Every `ContentStore` is one."""

    def leaf_list(self, name: Digest) -> bytes | None:
        """The leaf list of a file that is here, in whole or in part; None for another."""

    def read_chunk(self, name: Digest, index: int) -> bytes:
        """A chunk of such a file. Raises ContentUnavailable."""


def recompute(report: Report, source: Source, config: Config, rule: Rule, max_abs: float) -> None:
    """Look at the content of every round that fits so far; an earlier misfit takes the place of a later one.

    Args:
        report: of `check_chain`; completed.
        config: as the contract has it.
        rule: the swarm's merge rule.
        max_abs: the manifest's bound on updates.
    """
    if report.finding is not None and not report.rounds:
        return
    work = _Recompute(source, config, rule, max_abs)
    with report.catching():
        work.held(0, "genesis", config.genesis)
        for each in report.rounds:
            each.content = work.round(each, report)


class _Recompute:
    def __init__(self, source: Source, config: Config, rule: Rule, max_abs: float) -> None:
        self._source, self._config, self._rule, self._max_abs = source, config, rule, max_abs
        self._schema: Schema | None = None
        self._known: dict[Digest, bytes] = {}
        """Leaf lists of the round that were checked: making a root of a large one takes a while."""

    def _cid(self, digest: Digest) -> str:
        return str(cid(digest, self._config.size))

    # ---- files

    def _leaves(self, round_: int, what: str, digest: Digest, size: int) -> bytes | None:
        """The leaf list of a file, which makes its digest; None if nothing of the file is here."""
        if digest in self._known:
            return self._known[digest]
        leaves = self._source.leaf_list(digest)
        if leaves is None:
            return None
        try:
            made = str(cid(root(leaves, size).digest, size))
        except ContentCorrupt as error:
            made = str(error)
        expect(round_, f"content of the {what}", str(cid(digest, size)), made)
        self._known[digest] = leaves
        return leaves

    def _chunk(self, round_: int, what: str, digest: Digest, size: int, index: int, leaves: bytes) -> bytes | None:
        """A chunk that fits its leaf; None if it is not here."""
        leaf = leaf_at(leaves, index)
        place = f"chunk {index} of the {what} {cid(digest, size)}"
        try:
            data = self._source.read_chunk(digest, index)
        except ContentUnavailable:
            return None
        except ContentCorrupt as error:
            misfit(round_, place, leaf, str(error.args[0]))
        expect(round_, place, leaf, hashlib.sha256(data).digest())
        return data

    def held(self, round_: int, what: str, digest: Digest) -> bool:
        """Whether a model is here whole; every chunk that is here is checked."""
        size, chunks = self._config.size, range(self._config.chunks)
        leaves = self._leaves(round_, what, digest, size)
        if leaves is None:
            return False
        return sum(self._chunk(round_, what, digest, size, index, leaves) is not None for index in chunks) == len(
            chunks
        )

    def _find_schema(self, digests: Iterable[Digest]) -> Schema | None:
        """The swarm's schema, from the head of any of these files that has the one the contract names."""
        for digest in digests:
            try:
                head = self._source.read_chunk(digest, 0)
                length = head_length(head[:LENGTH_SIZE], self._config.size)
                for index in range(1, self._config.chunks):
                    if len(head) >= length:
                        break
                    head += self._source.read_chunk(digest, index)
                if hashlib.sha256(head[:length]).digest() == self._config.schema:
                    return parse_schema(head[:length], self._config.size)
            except (ContentUnavailable, ContentCorrupt, MalformedModel):
                continue
        return None

    # ---- rounds

    def round(self, each: RoundReport, report: Report) -> Recomputed:
        """Check the merged model that is here, and make it again from the updates that are."""
        self._known.clear()
        result = Recomputed(self.held(each.round, "merged model", each.merged))
        leaves = self._leaves(each.round, "merged model", each.merged, self._config.size)
        if leaves is not None:
            for slice_, attested in enumerate(each.slices):
                chunks = chunk_range(slice_, each.k, self._config.chunks)
                own = slice_digest(leaves[HASH_SIZE * chunks.start : HASH_SIZE * chunks.stop])
                expect(each.round, f"slice {slice_} of the merged model, as attested", attested, own)
        if self._schema is None:
            models = [report.genesis, *(other.merged for other in report.rounds)]
            if self._config.update_schema == self._config.schema:
                models += [update.digest for update in each.included]
            self._schema = self._find_schema(models)
        heads = self._heads(each, report)
        made = [self._merge_slice(each, heads, slice_, result) for slice_ in range(each.k)]
        self._compare(each, made)
        result.slices = [slice_ for slice_, leaf_list in enumerate(made) if leaf_list is not None]
        return result

    def _compare(self, each: RoundReport, made: Sequence[bytes | None]) -> None:
        whole = [leaf_list for leaf_list in made if leaf_list is not None]
        if len(whole) == each.k:
            merged = root(b"".join(whole), self._config.size).digest
            what = f"merged model, made again from its {len(each.included)} updates"
            expect(each.round, what, self._cid(merged), self._cid(each.merged))
        for slice_, leaf_list in enumerate(made):
            if leaf_list is not None:
                what = f"slice {slice_} as attested, made again from {len(each.included)} updates"
                expect(each.round, what, slice_digest(leaf_list), each.slices[slice_])

    def _heads(self, each: RoundReport, report: Report) -> list[Digest]:
        """The earlier models that the rule reads: the one that the round trained from, its parent and so on."""
        rounds = {other.round: other for other in report.rounds}
        heads, number = [each.parent], each.parent_round
        while len(heads) < self._rule.heads:
            before = rounds.get(number)
            heads.append(self._config.genesis if before is None else before.parent)
            number = 0 if before is None else before.parent_round
        return heads[: self._rule.heads]

    def _merge_slice(self, each: RoundReport, heads: Sequence[Digest], slice_: int, result: Recomputed) -> bytes | None:
        """The leaf list of a slice, merged again; None if some of its input is not here. Names what in `result`."""
        if self._schema is None:
            self._note_missing(each, each.included, result)
            return None
        inputs = RoundInputs(
            self._schema,
            [partial(self._update_chunk, each.round, update) for update in each.included],
            [update.weight for update in each.included],
            [partial(self._head_chunk, each.round, head) for head in heads],
        )
        leaves = bytearray()
        try:
            merge = self._rule.begin(inputs)
            for chunk in chunk_range(slice_, each.k, self._config.chunks):
                leaves += hashlib.sha256(merge.chunk(chunk)).digest()
        except _NotHere as missing:
            if missing.update:
                gone = [update for update in each.included if not self._here(each.round, update, missing.chunk)]
                self._note_missing(each, gone, result)
            elif missing.digest not in result.earlier_missing:
                result.earlier_missing.append(missing.digest)
            return None
        return bytes(leaves)

    def _note_missing(self, each: RoundReport, gone: Iterable[Input], result: Recomputed) -> None:
        result.missing += [update.address for update in gone if update.address not in result.missing]

    def _here(self, round_: int, update: Input, chunk: int) -> bool:
        try:
            self._update_chunk(round_, update, chunk)
        except _NotHere:
            return False
        return True

    def _update_chunk(self, round_: int, update: Input, chunk: int) -> bytes:
        """A chunk of an update, which may be merged. Raises _NotHere."""
        what, size = f"update of {shown(update.address)}", self._config.update_size
        leaves = self._leaves(round_, what, update.digest, size)
        data = None if leaves is None else self._chunk(round_, what, update.digest, size, chunk, leaves)
        if data is None or self._schema is None:
            raise _NotHere(update.digest, chunk, update=True)
        try:
            check_chunk(self._rule.update_schema(self._schema), chunk, data, self._max_abs)
        except InvalidUpdate as error:
            misfit(round_, what, "one that may be merged", str(error.args[0]))
        return data

    def _head_chunk(self, round_: int, head: Digest, chunk: int) -> bytes:
        """A chunk of an earlier model. Raises _NotHere."""
        what, size = "model before it", self._config.size
        leaves = self._leaves(round_, what, head, size)
        data = None if leaves is None else self._chunk(round_, what, head, size, chunk, leaves)
        if data is None:
            raise _NotHere(head, chunk, update=False)
        return data


class _NotHere(Exception):
    """Ends a merge whose input is not all here. Never leaves this module."""

    def __init__(self, digest: Digest, chunk: int, *, update: bool) -> None:
        super().__init__(digest, chunk)
        self.digest = digest
        self.chunk = chunk
        self.update = update
