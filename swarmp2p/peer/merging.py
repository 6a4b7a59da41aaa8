"""Carries out what concerns content: fetch updates, merge slices, put the merged model together (protocol, 5-8)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import trio

from swarmp2p.content.exchange import LiveObject
from swarmp2p.content.interface import Part, PartFinishesUnflushed, PartServesUnchecked, Target
from swarmp2p.content.unixfs import HASH_SIZE, root, slice_digest
from swarmp2p.core.actions import BuildRoot, FetchFile, FetchLeafList, FetchSlice, Keep, Merge, Verify
from swarmp2p.core.errors import ContentCorrupt, ContentUnavailable, InvalidUpdate, SwarmError
from swarmp2p.core.slices import chunk_range, stretches
from swarmp2p.core.store import RoundStore
from swarmp2p.core.types import CHUNK_SIZE, Bitmap, Digest, Reason
from swarmp2p.core.view import Member
from swarmp2p.merge import rule as rules
from swarmp2p.merge.validate import check_chunk
from swarmp2p.peer.context import Context
from swarmp2p.peer.following import Following, Key, assembly_name, live_name
from swarmp2p.peer.round_merge import Inputs, InvalidChunk, head_sources, merge_chunks

T = TypeVar("T")

NEARLY = 0.03
"""Seconds in which the rest of a slice may come, whose leaf list need not be fetched then."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A merged model whose root this peer built from the leaf lists of its slices, whole or not."""

    assembly: str
    inputs: Digest
    excluded: Bitmap
    slices: tuple[tuple[int, bytes, Digest], ...]
    """First chunk, leaf list and digest of each."""


class Merging:
    """The content side of a round."""

    def __init__(self, context: Context, following: Following) -> None:
        self._ctx = context
        self._following = following
        self._threads = trio.CapacityLimiter(4)
        self._merges = trio.CapacityLimiter(16)
        """Threads that may wait long, for chunks to come."""
        self._built: dict[Digest, _Built] = {}
        self._wanted: set[Digest] = set()
        """Files that were wanted when last collected, here or not."""
        self._unwanted: set[Digest] = set()
        """Files that were here, but not wanted, when last collected."""
        self._wanted_in: dict[Digest, tuple[int, int]] = {}
        """For audits and reorganisations: files, and the last round and chain block in which they were wanted."""
        self._leaf_lists: dict[Digest, bytes] = {}
        """Leaf lists of slices of the sealed round that were fetched."""
        self._own_chunks: dict[tuple[Digest, Bitmap], set[int]] = {}
        """Chunks of the merged model that this process merged itself, for the sealed round."""
        self._claimed_chunks: list[range] = []
        """Chunks of slices that enough members claimed, and that were put to use as such."""
        self._published: set[Digest] = set()

    async def _thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)

    def _round(self, number: int) -> RoundStore:
        current = self._ctx.store.round
        if current is None or current.round != number:
            raise SwarmError(f"Round {number} is over.")
        return current

    def _assembly(self, current: RoundStore, excluded: Bitmap) -> Part:
        """Blocking."""
        return self._ctx.content.assemble(assembly_name(current, excluded), self._ctx.config.size)

    def _slice(self, slice_: int) -> range:
        # A head that is lost is merged again when the view is of the next round already.
        current = self._ctx.store.round
        k = current.k if current is not None and current.k else self._ctx.view.k
        return chunk_range(slice_, k, self._ctx.config.chunks)

    # ---- whole files

    async def fetch_file(self, action: FetchFile) -> None:
        """A merged model: out of this peer's own assembly as far as it goes, the rest from whoever has it."""
        ctx = self._ctx
        digest, built, part = action.digest, self._built.get(action.digest), None
        if not await self._thread(lambda: ctx.content.has(digest)):
            if built is not None:
                part = await self._complete(digest, built)
            else:
                await ctx.fetcher.fetch_file(digest, ctx.config.size)
        ctx.store.held.add(digest)
        ctx.emit("held", action.round, cid=ctx.cid(digest))
        ctx.wake()
        if part is not None:
            with trio.CancelScope(shield=True):  # it is wanted no more
                await self._flush(part, digest)

    async def _flush(self, part: Part, digest: Digest) -> None:
        """A merged model is applied while it is on its way to the disk: what this peer merged of it is there already, and
        all that it fetched can be fetched again."""
        try:
            await self._thread(part.flush)
        except BaseException as error:
            self._ctx.store.held.discard(digest)
            if not isinstance(error, ContentUnavailable):  # else it was collected meanwhile: it is not the head
                raise

    async def _complete(self, digest: Digest, built: _Built) -> Part:
        """Fetch what is missing slice by slice: the root is served only by those who have the model whole, and right
        after a merge that may be nobody. It is whole when this returns, but not flushed."""
        ctx = self._ctx
        part = await self._thread(lambda: ctx.content.assemble(built.assembly, ctx.config.size))

        async def complete(slice_: int, first: int, leaf_list: bytes, name: Digest) -> None:
            await self._following.settled((built.inputs, built.excluded, slice_))
            target = await self._thread(partial(part.target, first, leaf_list, name))
            try:
                await ctx.fetcher.fetch_chunks(target)
            except ContentUnavailable:
                # Who had the slice may know it as a part of the whole model only by now.
                target = await self._thread(partial(part.target, 0, whole, digest))
                await ctx.fetcher.fetch_chunks(target, first, first + len(leaf_list) // HASH_SIZE)

        whole = b"".join(leaf_list for _, leaf_list, _ in built.slices)
        async with trio.open_nursery() as nursery:
            for slice_, made in enumerate(built.slices):
                nursery.start_soon(complete, slice_, *made)
        await self._thread(partial(_finish, part, digest))
        return part

    async def keep(self, action: Keep) -> None:
        """Drop what was needed and is not any more; and what is not needed and was not the last time either, since it may
        have come in meanwhile."""
        ctx = self._ctx
        head = ctx.view.head if ctx.view.head in ctx.store.held else None
        earlier = await self._earlier()

        def collect() -> tuple[set[Digest], set[Digest]]:
            wanted = {*action.digests, *earlier, *self._own()}
            here = ctx.content.digests() - wanted
            came = here - self._unwanted - self._wanted
            longer = self._kept_longer(action.digests, here)
            recent = {name for name in ctx.content.assemblies() if self._may_be_finished(name)}
            ctx.content.collect(wanted | came | longer, recent)
            return wanted, here

        async with ctx.own_update:
            self._wanted, self._unwanted = await self._thread(collect)
        if head not in (None, ctx.collected_at):
            ctx.collected_at = head
            ctx.wake()
        ctx.store.held &= action.digests | {ctx.view.head}
        self._built = {d: built for d, built in self._built.items() if self._may_be_finished(built.assembly)}

    def _own(self) -> set[Digest]:
        """What this peer needs besides what `decide` knows of."""
        ctx = self._ctx
        own = {ctx.config.purpose}  # the terms, where they are a document that this home has
        own |= {hint.digest for hint in ctx.announced.values() if hint.round == ctx.view.round}  # on their way
        if ctx.store.update and ctx.store.update.base == ctx.view.head:
            own.add(ctx.store.update.digest)
        if ctx.store.round is not None and ctx.store.round.round > ctx.view.head_round:
            own |= set(ctx.store.round.roots.values())
        return own

    def _may_be_finished(self, assembly: str) -> bool:
        """Whether a merged model in the making is of a round that may become the head, or is the head in the making."""
        view, round_ = self._ctx.view, int(assembly.split("-")[1])
        return round_ > view.head_round or (round_ == view.head_round and view.head not in self._ctx.store.held)

    async def _earlier(self) -> list[Digest]:
        """Models that the rule will read: those before the head, one more than now, since a head that is lost is merged
        again from them; and those before the best, to which a vote may go back."""
        view, count = self._ctx.view, self._ctx.rule.heads
        if not count:
            return []
        before_head = await self._ctx.lineage(view.head_round, count)
        return [*before_head, *await self._ctx.lineage(view.best_round, count - 1)]

    def _kept_longer(self, wanted: frozenset[Digest], here: set[Digest]) -> set[Digest]:
        """Files that were wanted within the last `keep_rounds` rounds, for audits, or the last `confirmations` blocks, since
        a reorganisation of these would make them wanted again. When an earlier run wanted them is not known: what it left
        counts from now on."""
        knobs, now = self._ctx.knobs, (self._ctx.view.round, self._ctx.view.block_number)
        if not knobs.keep_rounds and not knobs.confirmations:
            return set()
        oldest_round = now[0] - knobs.keep_rounds if knobs.keep_rounds else now[0] + 1
        oldest_block = now[1] - knobs.confirmations
        known = dict.fromkeys(here, now) | self._wanted_in | dict.fromkeys(wanted, now)
        self._wanted_in = {
            digest: (round_, block)
            for digest, (round_, block) in known.items()
            if round_ >= oldest_round or block >= oldest_block
        }
        return set(self._wanted_in)

    # ---- updates of others

    def look_up_leaf_lists(self) -> None:
        """Those that are here need no action to be fetched."""
        current, content = self._ctx.store.round, self._ctx.content
        if current is not None:
            current.leaf_lists.update(
                member.index
                for member in current.members
                if member.index not in current.leaf_lists and content.leaf_list(member.digest) is not None
            )

    async def fetch_leaf_list(self, action: FetchLeafList) -> None:
        """A member's leaf list; that it cannot be had is what an objection is made of."""
        current = self._round(action.round)
        await self._leaf_list(current, action.index, action.digest)
        current.leaf_lists.add(action.index)

    async def _leaf_list(self, current: RoundStore, index: int, digest: Digest) -> bytes:
        ctx = self._ctx
        await trio.lowlevel.checkpoint()
        known = ctx.content.leaf_list(digest)
        if known is not None:
            return known
        origin = ctx.view.member_at(index)
        with self._noting_failure(current, index):
            leaf_list = await ctx.fetcher.fetch_leaf_list(
                digest, ctx.config.update_size, prefer=[origin.address] if origin else []
            )
        await self._thread(lambda: ctx.content.begin(digest, ctx.config.update_size, leaf_list))
        return leaf_list

    def _noting_failure(self, current: RoundStore, index: int) -> "_NotingFailure":
        return _NotingFailure(self._ctx, current, index)

    async def _fetch_chunks(self, current: RoundStore, member: Member, chunks: Collection[int]) -> None:
        ctx = self._ctx
        leaf_list = await self._leaf_list(current, member.index, member.digest)

        def begin() -> Target:
            part = ctx.content.begin(member.digest, ctx.config.update_size, leaf_list)
            return part.target(0, leaf_list, member.digest)

        target = await self._thread(begin)
        missing = [run for run in stretches(chunks) if target.missing(*run)]
        if not missing:  # nor is a turn waited for
            return
        async with ctx.turn_of(member.index, sum(end - first for first, end in missing)):
            for first, end in missing:
                with self._noting_failure(current, member.index):
                    await ctx.fetcher.fetch_chunks(target, first, end, prefer=[member.address])

    async def verify(self, action: Verify) -> None:
        """Look at the chunk that somebody calls INVALID."""
        ctx, current = self._ctx, self._round(action.round)
        member = ctx.view.member_at(action.index)
        if member is None:
            return
        schema = await ctx.update_schema()
        if action.chunk < schema.chunks:
            await self._fetch_chunks(current, member, [action.chunk])

            def check() -> None:
                data = ctx.content.read_chunk(action.digest, action.chunk)
                check_chunk(schema, action.chunk, data, ctx.manifest.max_abs)

            try:
                await self._thread(check)
            except InvalidUpdate:
                current.invalid[action.index] = action.chunk
                return
        for objector in current.objectors(action.index, Reason.INVALID):
            current.refuted.add((objector, action.index, action.chunk))

    # ---- merged slices

    async def merge(self, action: Merge) -> None:
        """Fetch, check and merge one slice, chunk by chunk, in ascending order of the members' addresses; others may take
        each merged chunk at once."""
        ctx, current = self._ctx, self._round(action.round)
        ctx.step("fetch", action.round)
        chunks = self._slice(action.slice)
        if not any(inputs == action.inputs for inputs, _ in self._own_chunks):
            self._own_chunks, self._leaf_lists, self._claimed_chunks = {}, {}, []
            self._withdraw()
        part = await self._thread(partial(self._assembly, current, action.excluded))
        # What is in the part may have been fetched, or be of a run before a crash: what this process merged counts.
        own = self._own_chunks.setdefault((action.inputs, action.excluded), set())
        live = self._publish((action.inputs, action.excluded, action.slice), part, chunks, own)
        todo = [chunk for chunk in chunks if chunk not in own]
        if todo:
            invalid = await self._fetch_and_merge(action, part, todo, own, live)
            if invalid is not None:
                current.invalid[invalid.index] = invalid.chunk
                return
        digest = await self._thread(lambda: part.seal_slice(chunks.start, chunks.stop))
        current.slice_lists.add(digest)
        await self._computed(current, part, action, digest)

    async def _computed(self, current: RoundStore, part: Part, action: Merge, digest: Digest) -> None:
        """What is merged is claimed at once, and attested when it is on the disk."""
        key = action.excluded, action.slice
        current.computed[key] = digest
        self._ctx.wake()
        # From here on nobody wants this action any more, so it would not be tried again.
        with trio.CancelScope(shield=True):
            try:
                await self._thread(part.flush)
            except BaseException:
                current.computed.pop(key, None)
                raise
        current.slices_held.add((*key, digest))
        self._ctx.wake()

    def _publish(self, key: Key, part: Part, chunks: range, own: set[int]) -> LiveObject:
        """Let others have the slice while it is merged."""

        chunk = part.serve_chunk if isinstance(part, PartServesUnchecked) else part.read_chunk

        def read(index: int) -> bytes | None:
            if chunks.start + index not in own:
                return None
            try:
                return chunk(chunks.start + index)
            except (ContentUnavailable, ContentCorrupt):
                return None

        end = min(chunks.stop * CHUNK_SIZE, self._ctx.config.size)
        name, making = live_name(*key), LiveObject(end - chunks.start * CHUNK_SIZE, read)
        self._ctx.live.publish(name, making)
        self._published.add(name)
        return making

    def _withdraw(self) -> None:
        """Another round is merged: nobody needs what was in the making before."""
        for name in self._published:
            self._ctx.live.withdraw(name)
        self._published.clear()

    async def _fetch_and_merge(
        self, action: Merge, part: Part, todo: Sequence[int], own: set[int], live: LiveObject
    ) -> InvalidChunk | None:
        """Both at once: a chunk is merged as soon as it has come from everybody."""
        ctx, current = self._ctx, self._round(action.round)
        included = [member for member in current.members if not action.excluded >> member.index & 1]
        members = sorted(included, key=lambda member: member.address)
        model, update = await ctx.schema(), await ctx.update_schema()
        wanted = await self._thread(partial(ctx.rule.update_chunks, model, todo))
        heads = await self._heads(action.round)
        reader = Inputs(ctx.content, update, ctx.manifest.max_abs, ctx.fetcher.arrived)
        weights = [member.weight for member in members]
        sources = [reader.of(member) for member in members]
        inputs = rules.RoundInputs(model, sources, weights, head_sources(ctx.content, heads))

        def proven(chunk: int) -> bool:
            return chunk not in own and any(chunk in claimed for claimed in self._claimed_chunks)

        def done(chunk: int) -> None:
            own.add(chunk)
            live.advance()

        found: list[InvalidChunk] = []

        async def merge(scope: trio.CancelScope) -> None:
            work = partial(merge_chunks, ctx.rule, inputs, part, todo, proven, done)
            try:
                await trio.to_thread.run_sync(work, limiter=self._merges)
            except InvalidChunk as invalid:
                found.append(invalid)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            ctx.emit("merge", action.round, slice=action.slice)
            nursery.start_soon(merge, nursery.cancel_scope)
            async with trio.open_nursery() as fetching:
                for member in members:
                    fetching.start_soon(self._fetch_chunks, current, member, wanted)
            reader.complete.set()
        return found[0] if found else None

    async def _heads(self, round_: int) -> list[Digest]:
        """The earlier models that the rule reads, here whole."""
        ctx = self._ctx
        heads = await ctx.earlier_heads(round_)
        for digest in dict.fromkeys(heads):
            if not await self._thread(partial(ctx.content.has, digest)):
                await ctx.fetcher.fetch_file(digest, ctx.config.size)
        return heads

    async def fetch_slice(self, action: FetchSlice) -> None:
        """A slice that enough members claim: the leaf list first, so that the root can be built while chunks come."""
        ctx, current = self._ctx, self._round(action.round)
        chunks, key = self._slice(action.slice), (current.inputs, action.excluded, action.slice)
        claimants = sorted(current.claims(action.excluded, action.slice).get(action.digest, ()))
        with trio.move_on_after(NEARLY):
            await self._following.settled(key)

        def followed() -> tuple[Part, Target | None]:
            part = self._assembly(current, action.excluded)
            leaf_list = part.leaf_list(chunks.start, chunks.stop)
            if leaf_list is None or slice_digest(leaf_list) != action.digest:
                return part, None
            return part, part.target(chunks.start, leaf_list, action.digest)

        part, target = await self._thread(followed)
        if target is None:
            leaf_list = await ctx.fetcher.fetch_leaf_list(action.digest, prefer=claimants)
            target = await self._thread(partial(part.target, chunks.start, leaf_list, action.digest))
        self._leaf_lists[action.digest] = target.leaf_list
        current.slice_lists.add(action.digest)
        ctx.wake()
        await self._following.settled(key)
        self._claimed_chunks.append(chunks)
        await ctx.fetcher.fetch_chunks(target, prefer=claimants)
        current.slices_held.add((action.excluded, action.slice, action.digest))
        for (excluded, slices), merged in list(current.roots.items()):
            if excluded == action.excluded and action.digest in slices:
                await self._finish_if_whole(current, excluded, merged)

    async def build_root(self, action: BuildRoot) -> None:
        """The merged model's digest, from the leaf lists of its slices."""
        ctx, current = self._ctx, self._round(action.round)

        firsts = [self._slice(slice_).start for slice_ in range(len(action.slices))]

        def build() -> tuple[Digest, _Built]:
            lists = [self._leaf_lists.get(d) or ctx.content.leaf_list(d) or b"" for d in action.slices]
            if not all(lists):
                raise ContentUnavailable("The leaf list of a slice is not held any more.", "It is fetched again.")
            slices = tuple(zip(firsts, lists, action.slices, strict=True))
            return root(b"".join(lists), ctx.config.size).digest, _Built(name, current.inputs, action.excluded, slices)

        name = assembly_name(current, action.excluded)
        digest, built = await self._thread(build)
        self._built[digest] = built
        current.roots[action.excluded, action.slices] = digest
        ctx.wake()
        await self._finish_if_whole(current, action.excluded, digest)

    async def _finish_if_whole(self, current: RoundStore, excluded: Bitmap, digest: Digest) -> None:
        """A merged model that is here whole can be asked for by its root at once, before the chain names it. Once it has its
        name nobody wants this any more, or anything else that would flush it: it goes on to its end."""

        def finish() -> Part | None:
            part = self._assembly(current, excluded)
            if part.missing():
                return None
            _finish(part, digest)
            return part

        with trio.CancelScope(shield=True):
            part = await self._thread(finish)
            if part is not None:
                await self._flush(part, digest)


def _finish(part: Part, digest: Digest) -> None:
    """Blocking. To be flushed afterwards."""
    if isinstance(part, PartFinishesUnflushed):
        part.finish_unflushed(digest)
    else:
        part.finish(digest)


class _NotingFailure:
    """Writes down since when a member's content cannot be had; success wipes it."""

    def __init__(self, context: Context, current: RoundStore, index: int) -> None:
        self._ctx, self._current, self._index = context, current, index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._current.failing.pop(self._index, None)
        elif isinstance(error, ContentUnavailable):
            self._current.failing.setdefault(self._index, self._ctx.clock())
