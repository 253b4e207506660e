"""Every measurement can be started by its one command."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["calibration", "ingest", "knowledge", "tracing"])
def test_measurements_start(root, name):
    done = subprocess.run(
        [sys.executable, str(root / "bench" / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--json" in done.stdout


def test_frozen_is_measured_at_any_shape(root):
    """The whole measurement of `bench/frozen.py` on a model of a few layers: its parts agree with
    each other.
    """
    places = [str(root), str(root / "bench")]
    script = f"""
import importlib.util, json, sys
sys.path[:0] = {places!r}
spec = importlib.util.spec_from_file_location("reference", {str(root / "tests" / "tracing" / "reference.py")!r})
sys.modules["reference"] = reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
import frozen
frozen.SHAPE = {{"layers": 18, "width": 36, "heads": 6, "vocabulary": 20275, "spread": 0.02, "act": "relu", "ffn": 72}}
print(json.dumps(frozen.whole_map(reference, 96, 3, 4)))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["next_layer_max_diff"] < 1e-4
    assert found["frozen_vs_exact"] == pytest.approx(
        found["l5_exact_map_hours"] / found["l5_map_hours"]
    )
    assert found["rows"] <= 94 * 32 and found["frozen_vs_exact_arithmetic"] > 1
    assert found["all_layers_frozen_map_hours"] > found["l5_map_hours"]
