"""Readings to try the node with, in place of a real machine's sensors: python simulate_readings.py DEVICE > readings.csv

Every device sees mostly one state of its machine and hardly the others, so alone it learns little.
"""

import sys

import numpy as np

HEADINGS = "temperature,vibration,current,pressure,speed,noise,state"
READINGS = 300
MOSTLY = 0.9


def readings(device: int) -> list[str]:
    """Lines of a CSV file for the device of this number, the same ones each time."""
    chance = np.random.default_rng((2024, device))
    centres = np.random.default_rng(2024).normal(scale=1.2, size=(3, 6))
    likely = np.full(3, (1 - MOSTLY) / 2)
    likely[device % 3] = MOSTLY
    states = chance.choice(3, size=READINGS, p=likely)
    values = centres[states] + chance.normal(size=(READINGS, 6))
    return [
        ",".join([*(f"{value:.3f}" for value in row), str(state)]) for row, state in zip(values, states, strict=True)
    ]


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: python simulate_readings.py DEVICE, a number from 0 on")
    print(HEADINGS, *readings(int(sys.argv[1])), sep="\n")
