"""Merges again what content is still held, and compares (docs/protocol.md, sections 5, 6 and 8).

Members may drop updates once they are merged: what is not here any more is reported, and is no fault.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from swarmp2p.audit.report import Input, Recomputed, Report, RoundReport, expect, misfit, shown
from swarmp2p.content.unixfs import HASH_SIZE, cid, leaf_at, root, slice_digest
from swarmp2p.core.config import Config
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, InvalidUpdate, MalformedModel
from swarmp2p.core.schema import LENGTH_SIZE, Schema, head_length, parse_schema
from swarmp2p.core.slices import chunk_range
from swarmp2p.core.types import Digest
from swarmp2p.merge.rule import Rule
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

    def _leaves(self, round_: int, what: str, digest: Digest) -> bytes | None:
        """The leaf list of a file, which makes its digest; None if nothing of the file is here."""
        if digest in self._known:
            return self._known[digest]
        leaves = self._source.leaf_list(digest)
        if leaves is None:
            return None
        try:
            made = self._cid(root(leaves, self._config.size).digest)
        except ContentCorrupt as error:
            made = str(error)
        expect(round_, f"content of the {what}", self._cid(digest), made)
        self._known[digest] = leaves
        return leaves

    def _chunk(self, round_: int, what: str, digest: Digest, index: int, leaves: bytes) -> bytes | None:
        """A chunk that fits its leaf; None if it is not here."""
        leaf = leaf_at(leaves, index)
        place = f"chunk {index} of the {what} {self._cid(digest)}"
        try:
            data = self._source.read_chunk(digest, index)
        except ContentUnavailable:
            return None
        except ContentCorrupt as error:
            misfit(round_, place, leaf, str(error.args[0]))
        expect(round_, place, leaf, hashlib.sha256(data).digest())
        return data

    def held(self, round_: int, what: str, digest: Digest) -> bool:
        """Whether a file is here whole; every chunk that is here is checked."""
        leaves = self._leaves(round_, what, digest)
        if leaves is None:
            return False
        chunks = range(self._config.chunks)
        return sum(self._chunk(round_, what, digest, index, leaves) is not None for index in chunks) == len(chunks)

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
        leaves = self._leaves(each.round, "merged model", each.merged)
        if leaves is not None:
            for slice_, attested in enumerate(each.slices):
                chunks = chunk_range(slice_, each.k, self._config.chunks)
                own = slice_digest(leaves[HASH_SIZE * chunks.start : HASH_SIZE * chunks.stop])
                expect(each.round, f"slice {slice_} of the merged model, as attested", attested, own)
        if self._schema is None:
            models = [report.genesis, *(other.merged for other in report.rounds)]
            self._schema = self._find_schema([*models, *(update.digest for update in each.included)])
        made = [self._merge_slice(each, slice_, result) for slice_ in range(each.k)]
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

    def _merge_slice(self, each: RoundReport, slice_: int, result: Recomputed) -> bytes | None:
        """The leaf list of a slice, merged again; None if some of its input is not here. Names whose in `result`."""
        leaves = bytearray()
        for chunk in chunk_range(slice_, each.k, self._config.chunks):
            inputs = list(self._inputs(each, chunk, result))
            if self._schema is None or len(inputs) < len(each.included):
                return None
            merged = self._rule.merge_chunk(self._schema, chunk, inputs, [update.weight for update in each.included])
            leaves += hashlib.sha256(merged).digest()
        return bytes(leaves)

    def _inputs(self, each: RoundReport, chunk: int, result: Recomputed) -> Iterator[bytes]:
        """A chunk of every included update that is here, in the order of the merge."""
        for update in each.included:
            data = self._update_chunk(each.round, update, chunk)
            if data is not None and self._schema is not None:
                yield data
            elif update.address not in result.missing:
                result.missing.append(update.address)

    def _update_chunk(self, round_: int, update: Input, chunk: int) -> bytes | None:
        what = f"update of {shown(update.address)}"
        leaves = self._leaves(round_, what, update.digest)
        data = None if leaves is None else self._chunk(round_, what, update.digest, chunk, leaves)
        if data is not None and self._schema is not None:
            try:
                check_chunk(self._schema, chunk, data, self._max_abs)
            except InvalidUpdate as error:
                misfit(round_, what, "one that may be merged", str(error.args[0]))
        return data
