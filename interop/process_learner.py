"""A learner in a process of its own: files go between it and its peer, whose process never holds the model.

As a program it is that process: it answers a line of JSON with a line, and its model is a safetensors file in its folder.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from swarmp2p.merge.tensors import read_schema, write_weights

LAYER = 16 * 2**20
"""Elements in a layer, at most."""
BLOCK = 2**20
"""Elements that are trained at a time."""
FILE = "model.safetensors"


def layers(megabytes: int) -> dict[str, Any]:
    """A float32 model of zeros of this many megabytes."""
    elements = megabytes * 1_000_000 // 4
    return {
        f"layer{at // LAYER:03d}": np.zeros(min(LAYER, elements - at), np.float32) for at in range(0, elements, LAYER)
    }


class ProcessLearner:
    """The peer's end.

    Args:
        folder: the learner's own, outside of the peer's home.
        megabytes: of the model.
        step: what an interval adds to all weights.
    """

    def __init__(self, folder: Path, megabytes: int, step: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / FILE
        command = [sys.executable, "-m", "interop.process_learner", str(self._file), str(megabytes), str(step)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def train(self, interval: int) -> None:
        self._ask(do="train", interval=interval)

    def evaluate(self) -> float:
        return float(self._ask(do="evaluate"))

    def get_weights(self) -> Path:
        self._ask(do="nothing")  # the file is there once the process answers
        return self._file

    def set_weights(self, weights: Any) -> None:
        self._ask(do="load", file=str(weights))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def train(file: Path, step: float) -> None:
    """Add to every weight, a block at a time."""
    schema = read_schema(file)
    data = np.memmap(file, np.float32, "r+", len(schema.head))
    for at in range(0, len(data), BLOCK):
        data[at : at + BLOCK] += np.float32(step)
    data.flush()


def main(file: Path, megabytes: int, step: float) -> None:
    """Until the other end is closed."""
    write_weights(layers(megabytes), file)
    for line in sys.stdin:
        asked, answer = json.loads(line), None
        if asked["do"] == "train":
            for _ in range(asked["interval"]):
                train(file, step)
        elif asked["do"] == "load":
            shutil.copyfile(asked["file"], file)
        elif asked["do"] == "evaluate":  # it rises with each round, so that each merge is the best one
            answer = float(np.memmap(file, np.float32, "r", len(read_schema(file).head), (1,))[0])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
