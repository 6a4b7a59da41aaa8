"""The demo on anvil, and its merged model in an IPFS node where there is one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from multiformats import CID
from safetensors.numpy import load_file

from interop.demo_run import DemoRun, run_demo

ROUNDS = 6
IPFS_ADD = ("add", "--cid-version=1", "--raw-leaves", "--chunker=size-262144", "--quieter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> DemoRun:
    return run_demo("--chain", "anvil", "--rounds", str(ROUNDS), "--folder", str(folder))


@pytest.fixture
def model(demo: DemoRun, folder: Path) -> Path:
    """The last merged model, as a peer keeps it."""
    assert demo.code == 0, demo.complaint()
    digest = CID.decode(demo.result["contract_head"]).raw_digest.hex()
    return folder / "peer0" / "content" / "objects" / digest


def test_ends_with_one_head(demo: DemoRun) -> None:
    assert demo.code == 0, demo.complaint()
    assert len(demo.heads) == 1
    assert demo.result["rounds"] == ROUNDS
    assert len(demo.result["gas_per_submit"]) >= 2 * ROUNDS  # a slow machine may seal without a straggler


def test_merged_model_opens_with_plain_safetensors(model: Path) -> None:
    shapes = {name: weights.shape for name, weights in load_file(model).items()}
    assert shapes == {"0.weight": (64, 64), "0.bias": (64,), "2.weight": (10, 64), "2.bias": (10,)}


@pytest.mark.skipif(shutil.which("ipfs") is None, reason="no ipfs on the PATH")
def test_ipfs_gives_the_merged_model_the_same_cid(demo: DemoRun, model: Path, tmp_path: Path) -> None:
    environment = os.environ | {"IPFS_PATH": str(tmp_path / "ipfs")}
    subprocess.run(["ipfs", "init"], env=environment, check=True, capture_output=True)
    added = subprocess.run(["ipfs", *IPFS_ADD, str(model)], env=environment, check=True, capture_output=True, text=True)
    assert added.stdout.strip() == demo.result["contract_head"]
