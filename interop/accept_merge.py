"""Whether merges give the same bytes on other machines: `make accept-merge`.

All merge vectors, the start-up test, and a model of every dtype merged by every rule on every wire, under

* this environment's NumPy, with the processor's vector units as NumPy chooses them and with all of them off;
* the oldest NumPy that the library allows and a later one, in environments of their own, with and without vector units;
* NumPy for aarch64 under qemu (tools/aarch64), where that can be had.

A program each, so that nothing is shared; they print digests, which must all be equal.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".tools"
NUMPYS = ("1.26.0", "2.0.0")
"""The oldest release that pyproject.toml allows, and the first of the second series; the environment itself has a new one."""
ELEMENTS = 40_000
"""Of each tensor: more than two of the kernels' blocks, and no multiple of a vector's length."""


def main() -> int:
    """0 if all environments that could be had agree."""
    parser = argparse.ArgumentParser(description="Merge on other NumPys and processors, and compare the bytes.")
    parser.add_argument("--child", action="store_true", help="run here, and print the digests as JSON")
    parser.add_argument("--need", action="store_true", help="an environment that cannot be had is a failure")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_here()))
        return 0
    results, missing = {}, 0
    for name, command, settings in environments():
        made = subprocess.run(
            [*command, __file__, "--child"], env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        if made.returncode:
            print(f"{name}: could not be run\n{made.stderr[-2000:]}", flush=True)
            missing += 1
            continue
        results[name] = json.loads(made.stdout)
        about = results[name]["about"]
        what = f"{about['machine']}, NumPy {about['numpy']}, {about['cases']} merges, using {about['units']}"
        print(f"{name}: {what}", flush=True)
    bad = report(results)
    if missing:
        print(f"{missing} environments could not be had.")
    return 1 if bad or not results or (missing and options.need) else 0


def report(results: dict[str, Any]) -> int:
    """Says what differs, and returns how much."""
    first = next(iter(results.values()), {"digests": {}})["digests"]
    bad = 0
    for name, result in results.items():
        differing = [case for case, digest in result["digests"].items() if first.get(case) != digest]
        for case in [*result["wrong"], *differing]:
            print(f"{name}: {case} comes out differently")
        bad += len(result["wrong"]) + len(differing)
    print(f"{len(first)} merges in {len(results)} environments, {bad} differ.")
    return bad


# ---- environments


def environments() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """(name, command, environment variables), made on the way."""
    for name, python in pythons():
        yield name, [python], {}
        units = json.loads(subprocess.run([python, "-c", UNITS], capture_output=True, text=True, check=True).stdout)
        if units:
            yield f"{name} without vector units", [python], {"NPY_DISABLE_CPU_FEATURES": " ".join(units)}
    emulated = TOOLS / "aarch64" / "python"
    subprocess.run([ROOT / "tools" / "aarch64"], check=False)
    yield "aarch64 under qemu", [str(emulated) if emulated.exists() else "false"], {}


UNITS = """
import json
try:
    from numpy._core import _multiarray_umath as m
except ImportError:
    from numpy.core import _multiarray_umath as m
print(json.dumps([unit for unit in m.__cpu_dispatch__ if m.__cpu_features__.get(unit)]))
"""
"""Vector units beyond the baseline that this NumPy uses on this processor."""


def pythons() -> Iterator[tuple[str, str]]:
    """This environment's, and one for each NumPy."""
    yield "this environment", sys.executable
    for version in NUMPYS:
        folder = TOOLS / f"numpy-{version}"
        if not (folder / "installed").exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, "--only-binary", ":all:", f"numpy=={version}"], check=False)
            if done.returncode:
                print(f"NumPy {version} cannot be had for this Python.")
                continue
            (folder / "installed").touch()
        yield f"NumPy {version}", str(folder / "bin" / "python")


# ---- what each of them runs


def run_here() -> dict[str, Any]:
    """Digests of everything, and the vectors that came out wrong."""
    # The package itself would import network and chain, which these environments have not.
    for package in ("swarmp2p", "tests"):
        module = types.ModuleType(package)
        module.__path__ = [str(ROOT / package)]
        sys.modules[package] = module
    import platform

    import numpy as np

    from swarmp2p.merge.self_test import self_test

    self_test()
    digests, wrong = vectors()
    digests |= dict(models())
    try:
        from numpy._core import _multiarray_umath as core
    except ImportError:
        from numpy.core import _multiarray_umath as core
    units = [unit for unit in core.__cpu_dispatch__ if core.__cpu_features__.get(unit)]  # without those turned off
    about = {
        "machine": platform.machine(),
        "numpy": np.__version__,
        "units": " ".join(units) or "the baseline",
        "cases": len(digests),
    }
    return {"about": about, "digests": digests, "wrong": wrong}


def vectors() -> tuple[dict[str, str], list[str]]:
    """Digests of what the vectors' inputs are merged to here, and the names of those that are not as expected."""
    from swarmp2p.core.schema import canonical_schema
    from swarmp2p.merge.registry import rule_from_id
    from tests.merge.files import merge_file

    digests, wrong = {}, []
    for file in ("merge.json", "merge_rules.json"):
        content = json.loads((ROOT / "interop" / "vectors" / file).read_text())
        for number, case in enumerate(content["cases"]):
            rule = rule_from_id(case.get("rule") or content["rule"])
            item = {"64": 8, "32": 4, "16": 2}.get(case["dtype"][-2:], 1)
            count = case.get("count") or len(case["expected"]) // 2 // item
            model = rule.model_schema(canonical_schema([("w", case["dtype"], (count,))]))
            update = rule.update_schema(model)
            files = [update.head + bytes.fromhex(data) for data in case.get("updates") or case["inputs"]]
            heads = [model.head + bytes.fromhex(data) for data in case.get("heads", [])]
            merged = merge_file(rule, model, files, case["weights"], heads)[len(model.head) :]
            name = f"{file} {number}, {rule.id} {case['dtype']}, {case['name']}"
            digests[name] = hashlib.sha256(merged).hexdigest()
            if merged.hex() != case["expected"]:
                wrong.append(name)
    return digests, wrong


def models() -> Iterator[tuple[str, str]]:
    """A model of every dtype by every rule on every wire."""
    from swarmp2p.core.schema import canonical_schema
    from swarmp2p.merge.kernels import KERNELS
    from swarmp2p.merge.registry import RULES, rule_from_draft
    from swarmp2p.merge.wire import WIRES
    from tests.merge.files import merge_file
    from tests.merge.noise_files import file_with

    weights = canonical_schema([(dtype, dtype, (ELEMENTS + 13,)) for dtype in KERNELS])
    for name in RULES:
        for wire in WIRES:
            rule = rule_from_draft(f"{name};wire={wire}")
            model = rule.model_schema(weights)
            update = rule.update_schema(model)
            files = [file_with(update, 100 * member) for member in range(5)]
            heads = [file_with(model, 9_000 + 100 * number) for number in range(rule.heads)]
            merged = merge_file(rule, model, files, [3_000_000_019, 7, 1_000_003, 12, 5], heads)
            yield f"{rule.id}, all dtypes", hashlib.sha256(merged).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
