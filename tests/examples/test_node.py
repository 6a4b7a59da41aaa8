"""The example node: its learner, and two devices that run the one command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from examples.node import learner, simulate_readings
from swarmp2p.testing.local_swarm import local_swarm

NODE = Path(learner.__file__).parent


def device(folder: Path, number: int) -> Path:
    """A device's folder with its readings in it."""
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    lines = [simulate_readings.HEADINGS, *simulate_readings.readings(number)]
    (folder / "readings.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> learner.MachineState:
    monkeypatch.setenv("READINGS", str(device(tmp_path / "device", 0) / "readings.csv"))
    return learner.MachineState()


def test_learns_and_does_so_alike_each_time(machine: learner.MachineState) -> None:
    twin = learner.MachineState()
    before = machine.evaluate()
    machine.train(60)
    twin.train(40)
    twin.train(20)
    assert machine.evaluate() > before
    for name, value in machine.get_weights().items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, twin.get_weights()[name])


def test_weights_that_were_set_are_its_own(machine: learner.MachineState) -> None:
    given = {name: np.ones_like(value) for name, value in machine.get_weights().items()}
    machine.set_weights(given)
    machine.train(1)
    assert all((value == 1).all() for value in given.values())


def test_readings_differ_by_device_and_are_the_same_each_time() -> None:
    assert simulate_readings.readings(1) == simulate_readings.readings(1)
    assert simulate_readings.readings(1) != simulate_readings.readings(2)


def test_devices_run_the_one_command_and_hold_one_model(tmp_path: Path) -> None:
    names = ["device0", "device1", "device2"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    folders = {name: device(tmp_path / "devices" / name, number) for number, name in enumerate(names)}
    with local_swarm(learner.first_model(), names, rounds=4, sync_interval=10, folder=tmp_path / "swarm") as swarm:
        running = {}
        try:
            for name, folder in folders.items():
                configure(folder, swarm.manifest, swarm.invitation(name), swarm.home(name))
                running[name] = subprocess.Popen([folder / "run"], env=environment, stdout=subprocess.PIPE, text=True)
            told = {name: process.communicate(timeout=120)[0] for name, process in running.items()}
        finally:
            for process in running.values():
                process.kill()
                process.communicate()
    assert [process.returncode for process in running.values()] == [0, 0, 0], told
    best = [load_file(folder / "best.safetensors") for folder in folders.values()]
    for other in best[1:]:
        np.testing.assert_array_equal(best[0]["weight"], other["weight"])
    assert np.abs(best[0]["weight"]).max() > 0


def configure(folder: Path, manifest: Path, invitation: Path, home: Path) -> None:
    """What the README tells people to do by hand."""
    shutil.copy(manifest, folder / "swarm.toml")
    shutil.copy(invitation, folder / "invitation.json")
    shutil.copytree(home, folder / "home")
    conf = folder / "node.conf"
    conf.write_text(conf.read_text().replace("/ip4/0.0.0.0/tcp/4801", "/ip4/127.0.0.1/tcp/0"))
