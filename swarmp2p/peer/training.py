"""Carries out what concerns the learner: apply a head and validate it, train an interval and publish it."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trio

from swarmp2p.content.disk import sync_file
from swarmp2p.content.interface import PutsUnflushed
from swarmp2p.content.unixfs import Hashed, hash_file, root
from swarmp2p.core.actions import Apply, Train
from swarmp2p.core.errors import InvalidUpdate, LearnerFailed, MalformedModel, SchemaMismatch
from swarmp2p.core.messages import Hint
from swarmp2p.core.schema import Schema, difference
from swarmp2p.core.store import Report, Update
from swarmp2p.core.types import NO_DIGEST, Digest, ReportFlag
from swarmp2p.merge.apply import apply_from_text
from swarmp2p.merge.tensors import copy_tensors, read_schema, read_weights, schema_of, write_watched, write_weights
from swarmp2p.merge.validate import check_chunk, check_file
from swarmp2p.peer.context import Context
from swarmp2p.peer.learner import Learner
from swarmp2p.peer.scratch import Scratch
from swarmp2p.peer.writing import Writing, first_chunk, writing_name

RESIDUAL_FILE = "residual.safetensors"
"""In the home: what the last update's compression left out, which goes with the next one."""
MICRO = 1_000_000
"""Metrics travel as fixed-point integers with 6 decimals."""
LARGEST = 2**63 - 1
"""Of such an integer: the contract has int64."""


class Training:
    """The learner's side of a round."""

    def __init__(self, context: Context, announce: Callable[[Hint], None]) -> None:
        self._ctx = context
        self._announce = announce
        self._like: Mapping[str, Any] | Path | None = None
        """What get_weights last gave: set_weights gets the same kind."""
        self._apply = apply_from_text(context.manifest.apply)
        self._trained = False
        """The learner has weights of its own, trained since the last head was applied."""
        self._writing: Writing | None = None
        """What others may have had of the last update while it was written, and still may."""
        self._unpublished: Digest | None = None
        """The head from which the learner has trained an interval that is in no update yet."""

    async def apply(self, action: Apply) -> None:
        """Load a held model into the learner, validate it, and write the report down."""
        ctx = self._ctx
        ctx.step("apply", action.round)
        path = await trio.to_thread.run_sync(ctx.content.path, action.digest)
        schema = ctx.rule.weights_schema(await ctx.schema())
        mixes = not self._apply.replaces and self._trained
        self._trained = False
        with Scratch(ctx.content.scratch) as scratch:

            def apply_in_thread(learner: Learner) -> float | None:
                try:
                    return self._take_over(learner, path, schema, scratch, mixes=mixes, validates=action.round > 0)
                finally:
                    scratch.sweep()

            metric = await ctx.learner.call(apply_in_thread)
        if action.round > 0:
            await self._write_report(action.digest, metric)
        ctx.store.applied = action.digest
        ctx.emit("applied", action.round, metric=metric)
        ctx.on_applied(action.round, action.digest, metric)

    def _take_over(
        self, learner: Learner, head: Path, schema: Schema, scratch: Scratch, *, mixes: bool, validates: bool
    ) -> float | None:
        """In the learner's thread: give it the head, and take its metric."""
        self._unpublished = None
        if self._like is None:
            self._like = learner.get_weights()
            refuse_other_model(schema, self._like)
        own = scratch.path()
        if mixes:
            write_weights(learner.get_weights(), own, schema)
        # What is reported is of the head itself, whatever training goes on from.
        learner.set_weights(self._like_own(head, schema, scratch))
        metric = learner.evaluate() if validates else None
        if mixes:
            mixed = scratch.path()
            self._apply.mix(own, head, mixed)
            learner.set_weights(self._like_own(mixed, schema, scratch))
        return metric

    def _like_own(self, model: Path, schema: Schema, scratch: Scratch) -> Mapping[str, Any] | Path:
        """A model as the learner gives its own: arrays, or a file, without tensors that are the merge rule's own."""
        if not isinstance(self._like, Path):
            return read_weights(model, self._like, schema.by_name())
        if read_schema(model).head == schema.head:
            return model
        copy = scratch.path()
        copy_tensors(model, copy, schema)
        return copy

    async def _write_report(self, head: Digest, metric: float | None) -> None:
        journal, store = self._ctx.home.journal, self._ctx.store
        known = await trio.to_thread.run_sync(journal.report)
        if known is not None and known.head == head:
            store.report = known
            return
        if metric is None:
            store.report = Report(head, 0, ReportFlag(0))
            return
        if not math.isfinite(metric):
            raise LearnerFailed(f"evaluate() returned {metric}.", "It has to return a finite number, or None.")
        # A model that a liar has moved far away may have a loss that no int64 holds: it counts as the worst that one does.
        fixed = max(-LARGEST, min(LARGEST, round(metric * MICRO)))
        best = await trio.to_thread.run_sync(journal.best_metric)
        rule = self._ctx.manifest.metric
        sign = 1 if rule.maximize else -1
        improved = best is None or sign * (fixed - best) > rule.min_delta * MICRO
        reached = rule.target is not None and sign * (metric - rule.target) >= 0
        flags = ReportFlag.HAS_REPORT
        flags |= ReportFlag.IMPROVED if improved else ReportFlag(0)
        flags |= ReportFlag.REACHED if reached else ReportFlag(0)
        report = Report(head, fixed, flags)

        def write() -> None:
            journal.set_report(report)
            if improved:
                journal.set_best_metric(fixed)

        await trio.to_thread.run_sync(write)
        store.report = report

    async def train(self, action: Train) -> None:
        """One sync interval, then the weights become an update: checked, flushed, written down. When this fails after the
        interval, as on a full disk, no other one is trained the next time."""
        ctx = self._ctx
        round_ = ctx.view.round
        ctx.step("train", round_)
        schema = ctx.rule.weights_schema(await ctx.schema())
        writing = self._for_others(round_, action.base, schema.size)
        with Scratch(ctx.content.scratch) as scratch:
            weights = scratch.path()

            def train_in_thread(learner: Learner) -> Hashed:
                if self._unpublished != action.base:
                    learner.train(ctx.interval)
                    self._unpublished = action.base
                self._like = learner.get_weights()
                try:
                    return self._write(self._like, weights, schema, writing)
                finally:
                    scratch.sweep()

            with self._refusing():
                hashed = await ctx.learner.call(train_in_thread)
            async with trio.open_nursery() as nursery:
                if ctx.rule.wire.plain:  # it will be published as it is: on its way to the disk meanwhile
                    nursery.start_soon(trio.to_thread.run_sync, _begin_flush, weights)
                self._trained = True
                ctx.step("publish", round_)
                await self._publish(weights, hashed, action.base, scratch)

    def close(self) -> None:
        """Others get no more of what was written. Idempotent."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _for_others(self, round_: int, base: Digest, size: int) -> Writing | None:
        """What lets others have the update while it is written; None where that is of no use, or it will be another file."""
        ctx, token = self._ctx, trio.lowlevel.current_trio_token()
        self.close()
        if ctx.tls is None or ctx.turns.fast or not ctx.rule.wire.plain:
            return None

        def tell() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._announce, Hint(round_, NO_DIGEST))

        self._writing = Writing(
            ctx.live,
            writing_name(round_, base, ctx.store.me),
            size,
            tell,
            first_chunk(ctx.view, ctx.config, ctx.store.me),
        )
        return self._writing

    def _write(
        self, given: Mapping[str, Any] | Path, weights: Path, schema: Schema, writing: Writing | None = None
    ) -> Hashed:
        """Write the weights, checked and hashed on the way.

        Raises:
            InvalidUpdate: others would refuse them.
        """
        max_abs, leaves = self._ctx.manifest.max_abs, [b""] * schema.chunks
        if isinstance(given, Path):
            write_weights(given, weights, schema)
            check_file(weights, schema, max_abs)
            return hash_file(weights)

        def look(index: int, chunk: memoryview) -> None:
            if writing is not None:
                writing.next(index)
            check_chunk(schema, index, chunk, max_abs)
            leaves[index] = hashlib.sha256(chunk).digest()

        if writing is None:
            write_watched(given, weights, schema, look)
        else:
            with writing:
                write_watched(given, weights, schema, look, writing.begin, writing.first)
        leaf_list = b"".join(leaves)
        return Hashed(root(leaf_list, schema.size).digest, schema.size, leaf_list)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """An update that others would refuse is not published."""
        try:
            yield
        except InvalidUpdate as error:
            self._unpublished = self._ctx.store.applied = None  # take the head again, and train from there
            self._ctx.wake()
            raise InvalidUpdate(
                f"The locally trained weights cannot be published: {error}",
                "Training starts again from the head; a lower learning rate may help.",
                chunk=error.chunk,
            ) from error

    async def _publish(self, weights: Path, hashed: Hashed, base: Digest, scratch: Scratch) -> None:
        """Make these weights the own update: others can fetch it, and a restart finds it."""
        ctx = self._ctx
        left: Path | None = None
        if not ctx.rule.wire.plain:
            update_schema = await ctx.update_schema()
            with self._refusing():
                weights, left = await trio.to_thread.run_sync(self._encoded, weights, base, scratch, update_schema)
        async with ctx.own_update:
            stored = await self._stored(weights, hashed if left is None else None)
            update = Update(base=base, digest=stored.digest, weight=ctx.store.weight)
            await trio.to_thread.run_sync(ctx.home.journal.set_update, update)
            if left is not None:
                await trio.to_thread.run_sync(left.replace, ctx.home.path / RESIDUAL_FILE)
            ctx.store.update = update
            ctx.store.held.add(update.digest)
            self._unpublished = None

    async def _stored(self, update_file: Path, hashed: Hashed | None) -> Hashed:
        """Put it into the store; others may fetch it while it is on its way to the disk."""
        content, round_ = self._ctx.content, self._ctx.view.round
        early = content if isinstance(content, PutsUnflushed) else None
        if early is None:
            return await trio.to_thread.run_sync(lambda: content.put(update_file, move=True))
        stored = await trio.to_thread.run_sync(early.put_unflushed, update_file, hashed)
        self._announce(Hint(round_, stored.digest))
        await trio.to_thread.run_sync(early.flush, stored.digest)
        return stored

    def _encoded(self, weights: Path, base: Digest, scratch: Scratch, update_schema: Schema) -> tuple[Path, Path]:
        """The update as the swarm's wire has it, and what it leaves for the next one: a file that takes the residual's place
        when the update is written down. Should the peer die in between, that residual is lost, and nothing else.

        Raises:
            InvalidUpdate: others would refuse it.
        """
        ctx = self._ctx
        update, residual = scratch.path(), ctx.home.path / RESIDUAL_FILE
        left, head = scratch.also(residual.with_suffix(".new")), ctx.content.path(base)
        try:
            ctx.rule.wire.encode(weights, head, residual if residual.exists() else None, update, left)
        except MalformedModel:
            residual.unlink()
            ctx.rule.wire.encode(weights, head, None, update, left)
        weights.unlink()
        check_file(update, update_schema, ctx.manifest.max_abs)
        return update, left


def _begin_flush(path: Path) -> None:
    """What comes of it is seen when the file is put into the store, which flushes it for good, and may have moved it."""
    with contextlib.suppress(OSError):
        sync_file(path)


def refuse_other_model(schema: Schema, weights: Mapping[str, Any] | Path) -> None:
    """Raise SchemaMismatch, naming the first tensor that differs, if a learner's model is not the swarm's."""
    own = schema_of(weights)
    if _forms(own) != _forms(schema):
        raise SchemaMismatch(
            f"The learner's model is not this swarm's. {difference(schema, own)}",
            "Build the model that the swarm was founded with: same names, shapes and dtypes.",
        )


def _forms(schema: Schema) -> set[tuple[str, str, tuple[int, ...]]]:
    """Names, dtypes and shapes; where in the file a tensor stands is no matter between learners."""
    return {(tensor.name, tensor.dtype, tensor.shape) for tensor in schema.tensors}
