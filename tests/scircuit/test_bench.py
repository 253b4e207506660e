"""Every measurement can be started by its one command."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.patience import HANGS_S

BENCHES = (
    *("analysis", "calibration", "edges", "ingest", "knowledge", "planted", "published_model"),
    *("statistics_cost", "tracing"),
)


@pytest.mark.parametrize("name", BENCHES)
def test_measurements_start(root, name, tmp_path):
    done = subprocess.run(
        [sys.executable, str(root / "bench" / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--json" in done.stdout


def test_frozen_is_measured_at_any_shape(root):
    """The whole measurement of `bench/frozen.py` on a model of a few layers: its parts agree with
    each other.
    """
    shape = {
        "layers": 18,
        "width": 36,
        "heads": 6,
        "vocabulary": 20275,
        "spread": 0.02,
        "act": "relu",
        "ffn": 72,
    }
    script = f"""
import json
import os
import frozen
frozen.SHAPE = {shape}
print(json.dumps(frozen.whole_map(96, 3, 4)))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env={**os.environ, "PYTHONPATH": str(root / "bench")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["next_layer_max_diff"] < 1e-4
    assert found["frozen_vs_exact"] == pytest.approx(
        found["l5_exact_map_hours"] / found["l5_map_hours"]
    )
    assert found["rows"] <= 94 * 32 and found["frozen_vs_exact_arithmetic"] > 1
    assert found["all_layers_frozen_map_hours"] > found["l5_map_hours"]
