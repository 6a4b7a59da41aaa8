"""What the peers' lines say, put together: who did what when, round by round."""

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

PHASES = ("train", "seal", "merge", "attest", "finalize", "apply")
"""Where a round's time goes: until the last update is sent; until it is seen sealed; until the last claim; until the last
attestation; until the next round is seen open; until the last peer has applied."""


@dataclass
class RoundTimes:
    """Unix times of one round, over all peers."""

    opened: list[float] = field(default_factory=list)
    submit: list[float] = field(default_factory=list)
    sealed: list[float] = field(default_factory=list)
    claim: list[float] = field(default_factory=list)
    attest: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)


@dataclass
class Peer:
    """The latest of one peer."""

    round: int = 0
    state: str = "starting"
    applied_round: int = 0
    accuracy: float | None = None
    head: str | None = None
    stopped: bool = False
    best: str | None = None


@dataclass
class Record:
    """Everything that was said."""

    peers: list[Peer]
    rounds: dict[int, RoundTimes] = field(default_factory=dict)
    k: int = 0
    leaders: list[str] = field(default_factory=list)
    phase: str = "starting"
    merged: dict[int, str] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)
    gas: list[int] = field(default_factory=list)
    killed: dict[str, Any] | None = None
    trouble: list[str] = field(default_factory=list)

    def take(self, index: int, line: dict[str, Any]) -> None:
        """One line of one peer."""
        kind, number, peer = line["kind"], line.get("round", 0), self.peers[index]
        times = self.rounds.setdefault(number, RoundTimes())
        peer.round = max(peer.round, number)
        if kind == "phase":
            self._phase(line, times)
        elif kind == "submitted":
            self.gas.append(line["gas"])
            if self.killed and self.killed["index"] == index and self.killed["rejoined_round"] is None:
                self.killed["rejoined_round"] = number
        elif kind == "applied" and number:
            times.applied.append(line["time"])
            peer.applied_round, peer.accuracy = number, line["metric"]
            self.accuracy[number] = line["metric"]
        elif kind == "killed":
            peer.state = "killed"
            self.killed = {
                "index": index,
                "time": line["time"],
                "round": number,
                "step": line["step"],
                "rank": line["rank"],
                "rejoined_round": None,
            }
        elif kind == "stopped":
            peer.stopped, peer.head, peer.best = True, line["head"], line["best"]
        elif kind == "error":
            self.trouble.append(f"peer {index}: {line['message']}")
        elif kind in ("submit", "claim", "attest"):
            getattr(times, kind).append(line["time"])
        if kind in ("train", "submit", "fetch", "claim", "attest", "finalize", "apply"):
            peer.state = kind

    def _phase(self, line: dict[str, Any], times: RoundTimes) -> None:
        self.phase = line["phase"]
        if line["phase"] == "merging":
            times.sealed.append(line["time"])
            self.k, self.leaders = line["k"], line["leaders"]
        else:
            times.opened.append(line["time"])
            self.merged[line["round"] - (line["phase"] == "collecting")] = line["head"]

    def spans(self) -> dict[int, dict[str, float]]:
        """Seconds of each phase, of each round of which all is known."""
        found = {}
        for number in sorted(self.rounds):
            now, after = self.rounds[number], self.rounds.get(number + 1, RoundTimes())
            ended = after.opened or (now.opened if self.phase == "stopped" and number + 1 not in self.rounds else [])
            started = min(now.opened) if now.opened and number > 1 else None
            if not (started and now.submit and now.sealed and now.claim and now.attest and ended and now.applied):
                continue
            marks = [
                started,
                max(now.submit),
                min(now.sealed),
                max(now.claim),
                max(now.attest),
                min(ended),
                max(now.applied),
            ]
            found[number] = {
                phase: max(0.0, later - earlier)
                for phase, (earlier, later) in zip(PHASES, pairwise(marks), strict=True)
            }
        return found

    def round_seconds(self) -> list[float]:
        """From one round's opening to the next."""
        opened = [min(times.opened) for _, times in sorted(self.rounds.items()) if times.opened]
        return [later - earlier for earlier, later in pairwise(opened)]

    def phases(self) -> dict[str, float]:
        """Median seconds of each phase."""
        spans = list(self.spans().values())
        return {phase: median(span[phase] for span in spans) for phase in PHASES} if spans else {}

    def latencies(self) -> list[float]:
        """From the last submitUpdate sent to the last peer's apply, of each round in which all took part."""
        everybody = len(self.peers)
        return [
            max(times.applied) - max(times.submit)
            for number, times in sorted(self.rounds.items())
            if number and len(times.applied) == everybody and len(times.submit) == everybody
        ]

    def recovered_seconds(self) -> float | None:
        """From the kill until every survivor had applied that round's merge."""
        if self.killed is None:
            return None
        applied = self.rounds[self.killed["round"]].applied
        survivors = [time for time in applied if time > self.killed["time"]]
        return max(survivors[: len(self.peers) - 1]) - self.killed["time"] if survivors else None
