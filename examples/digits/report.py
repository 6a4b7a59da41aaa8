"""The table at the end, and the same as JSON."""

from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.digits.data import digits_of
from examples.digits.options import Options
from examples.digits.record import PHASES, Record
from examples.digits.setup import Stage
from swarmp2p.network.peer_ids import peer_id_of


def summary(
    options: Options, stage: Stage, record: Record, baseline: dict[str, Any], head: str, transactions: int
) -> dict[str, Any]:
    """What `--json` writes."""
    killed = None
    if record.killed is not None:
        killed = {
            "peer": str(peer_id_of(stage.keys[record.killed["index"]].public)),
            "round": record.killed["round"],
            "step": record.killed["step"],
            "rank": record.killed["rank"],
            "recovered_seconds": record.recovered_seconds(),
            "rejoined_round": record.killed["rejoined_round"],
        }
    last = max((number for number in record.accuracy), default=0)
    return {
        "peers": options.peers,
        "rounds": last,
        "k": record.k,
        "accuracy": {
            "alone": baseline["alone"],
            "swarm": record.accuracy.get(last),
            "central": baseline["central"],
        },
        "head": {str(peer_id_of(key.public)): peer.head for key, peer in zip(stage.keys, record.peers, strict=True)},
        "contract_head": head,
        "round_seconds": record.round_seconds(),
        "phases": record.phases(),
        "killed": killed,
        "transactions": transactions,
        "gas_per_submit": record.gas,
    }


def print_report(options: Options, result: dict[str, Any], record: Record, seconds: float) -> None:
    """For people."""
    console = Console()
    accuracy = result["accuracy"]
    table = Table(title="accuracy on a held-out set of all ten digits")
    for heading in ("who", "trained on", "accuracy"):
        table.add_column(heading)
    for index, alone in enumerate(accuracy["alone"]):
        digits = " ".join(map(str, digits_of(index, options.peers)))
        table.add_row(f"peer {index} alone", digits, f"{alone:.3f}")
    swarm = accuracy["swarm"]
    table.add_row("the swarm", "each its own, weights merged", "-" if swarm is None else f"{swarm:.3f}", style="bold")
    if accuracy["central"] is not None:
        table.add_row("central", "everything in one place", f"{accuracy['central']:.3f}")
    console.print(table)
    console.print(
        f"head {result['contract_head']}: the contract's, and that of {_holders(result)} of {options.peers} peers"
    )
    phases = result["phases"]
    if phases:
        shown = ", ".join(f"{phase} {phases[phase] * 1000:.0f}" for phase in PHASES)
        console.print(f"where a round's time goes, median ms: {shown}")
    latencies = record.latencies()
    if len(latencies) > 1:
        p90 = quantiles(latencies, n=10, method="inclusive")[8]
        console.print(
            f"from the last submitUpdate sent to the last peer's apply: p50 {median(latencies):.3f} s, p90 {p90:.3f} s"
            f" ({len(latencies)} rounds)"
        )
    gas = result["gas_per_submit"]
    gas_text = f", gas of submitUpdate {median(gas):.0f} (median)" if gas else ""
    console.print(f"{result['rounds']} rounds, k = {result['k']}, {result['transactions']} transactions{gas_text}")
    if result["killed"]:
        killed = result["killed"]
        console.print(
            f"killed at {killed['step']} in round {killed['round']}: the others had merged it after"
            f" {killed['recovered_seconds']:.2f} s; back in round {killed['rejoined_round']}"
        )
    console.print(f"{seconds:.0f} s in all")


def _holders(result: dict[str, Any]) -> int:
    return sum(head == result["contract_head"] for head in result["head"].values())
