"""The digits example: who has which data, what a learner does with it, and what is made of the peers' lines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples.digits.data import digits_of, load, part_of
from examples.digits.learner import BATCH, DigitsLearner, make_model
from examples.digits.options import KILL_ROUND, parse
from examples.digits.record import PHASES, Peer, Record
from examples.digits.report import summary
from examples.digits.setup import Stage, kill_order, make_manifest
from swarmp2p.identity import Key


def learner(index: int = 0, hidden: int = 8, seed: int = 1) -> DigitsLearner:
    data, held_out = load(seed)
    return DigitsLearner(part_of(data, index, 4), held_out, hidden, seed, index)


def test_four_peers_have_the_digits_that_the_readme_names() -> None:
    assert [digits_of(peer, 4) for peer in range(4)] == [(0, 1, 2), (3, 4), (5, 6, 7), (8, 9)]


@pytest.mark.parametrize("peers", [2, 3, 4, 7, 10, 11, 16])
def test_every_image_is_with_exactly_one_peer(peers: int) -> None:
    data, _ = load(0)
    parts = [part_of(data, peer, peers) for peer in range(peers)]
    assert sum(len(part.labels) for part in parts) == len(data.labels)
    rows = {image.tobytes() for part in parts for image in part.images}
    assert rows == {image.tobytes() for image in data.images}
    for peer, part in enumerate(parts):
        assert set(part.labels) == set(digits_of(peer, peers))


def test_held_out_images_are_of_all_digits_and_of_nobody() -> None:
    data, held_out = load(3)
    assert set(held_out.labels) == set(range(10))
    assert not {image.tobytes() for image in held_out.images} & {image.tobytes() for image in data.images}


def test_a_seed_gives_one_split_and_one_first_model() -> None:
    for again in (load(5), load(5)):
        np.testing.assert_array_equal(again[0].images, load(5)[0].images)
    assert not np.array_equal(load(5)[0].labels, load(6)[0].labels)
    first, second = make_model(8, 5).state_dict(), make_model(8, 5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_is_the_same_to_the_bit_however_it_is_cut() -> None:
    one, other = learner(), learner()
    one.train(2 * one.epoch)
    for _ in range(2 * one.epoch):
        other.train(1)
    for name, value in one.get_weights().items():
        assert torch.equal(value, other.get_weights()[name])


def test_an_epoch_sees_every_image_once() -> None:
    one = learner()
    assert one.epoch == -(-one.weight // BATCH)
    rows = [row for _ in range(one.epoch) for row in next(one._batches).tolist()]
    assert sorted(rows) == list(range(one.weight))


def test_goes_on_from_weights_that_were_set() -> None:
    one, other = learner(0), learner(1)
    other.train(3)
    one.set_weights(other.get_weights())
    assert one.evaluate() == other.evaluate()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bogus", "1"], "--bogus"),
        (["--peers", "many"], "'many' is no whole number"),
        (["--peers", "1"], "not between"),
        (["--kill", "leader"], "--at"),
        (["--kill", "leader", "--at", "train"], "--kill peer --at train"),
        (["--kill", "peer", "--at", "claim"], "--kill leader"),
        (["--kill", "peer", "--at", "train", "--rounds", "3"], "--rounds"),
        (["--chain", "bitcoin"], "bitcoin"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


def test_exactly_one_peer_is_told_to_die_while_it_trains() -> None:
    options = parse(["--kill", "peer", "--at", "train"])
    orders = [order for index in range(4) if (order := kill_order(options, index))]
    assert orders == [{"who": "peer", "step": "train", "round": KILL_ROUND}]
    assert kill_order(parse([]), 0) is None


def lines_of_a_round(number: int, start: float) -> list[tuple[int, dict[str, Any]]]:
    """What four peers tell in one round, two seconds long."""
    told: list[tuple[int, dict[str, Any]]] = []

    def say(kind: str, after: float, **data: Any) -> None:
        told.extend((i, {"kind": kind, "round": number, "time": start + after + i * 0.01, **data}) for i in range(4))

    say("phase", 0.0, phase="collecting", head=f"model {number - 1}")
    say("submit", 0.5)
    say("submitted", 0.6, gas=70_000)
    say("phase", 0.8, phase="merging", k=1, leaders=["0xaa"])
    say("claim", 1.0)
    say("attest", 1.2)
    say("applied", 2.1, metric=number / 10)
    return told


@pytest.fixture
def record() -> Record:
    record = Record([Peer() for _ in range(4)])
    for number in range(1, 4):
        for index, line in lines_of_a_round(number, 1000.0 + 2 * number):
            record.take(index, line)
    return record


def test_record_says_where_the_time_went(record: Record) -> None:
    assert record.round_seconds() == pytest.approx([2.0, 2.0])
    assert record.latencies() == pytest.approx([1.6, 1.6, 1.6])
    phases = record.phases()
    assert list(phases) == list(PHASES)
    assert phases["train"] == pytest.approx(0.53)
    assert all(seconds >= 0 for seconds in phases.values())


def test_json_has_the_agreed_shape(record: Record, tmp_path: Path) -> None:
    for index, line in enumerate([{"kind": "stopped", "time": 1010.0, "head": "h", "best": "b"}] * 4):
        record.take(index, line)
    options = replace(parse([]), rounds=3)
    keys = [Key.from_seed(str(index)) for index in range(4)]
    stage = Stage(tmp_path, make_manifest(options, keys[0], "http://127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"), keys, [])
    result = json.loads(json.dumps(summary(options, stage, record, {"alone": [0.3] * 4, "central": 0.9}, "h", 15)))
    assert list(result) == [
        "peers", "rounds", "k", "accuracy", "head", "contract_head", "round_seconds", "phases", "killed",
        "transactions", "gas_per_submit",
    ]  # fmt: skip
    assert result["accuracy"] == {"alone": [0.3] * 4, "swarm": 0.3, "central": 0.9}
    assert set(result["head"].values()) == {"h"}
    assert len(result["head"]) == 4
    assert result["killed"] is None
    assert result["gas_per_submit"] == [70_000] * 12


def test_json_tells_of_a_kill(record: Record, tmp_path: Path) -> None:
    record.take(2, {"kind": "killed", "time": 1007.0, "round": 3, "step": "claim", "rank": 0})
    record.take(2, {"kind": "submitted", "time": 1012.0, "round": 5, "gas": 70_000})
    options = parse(["--kill", "leader", "--at", "claim"])
    keys = [Key.from_seed(str(index)) for index in range(4)]
    stage = Stage(tmp_path, make_manifest(options, keys[0], "http://127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"), keys, [])
    killed = summary(options, stage, record, {"alone": [], "central": 0.9}, "h", 15)["killed"]
    assert set(killed) == {"peer", "round", "step", "rank", "recovered_seconds", "rejoined_round"}
    assert (killed["round"], killed["step"], killed["rank"], killed["rejoined_round"]) == (3, "claim", 0, 5)
    assert killed["peer"].startswith("16Uiu2")
    assert killed["recovered_seconds"] == pytest.approx(1.12)
