"""What `benchmarks.probes` measures and prints."""

import numpy as np
import pytest

from benchmarks import probes


def test_the_table_has_a_row_for_each_estimator():
    rows = [
        {
            "latent_size": 16,
            "objective": "linearized",
            "step_seconds": 0.02,
            "ratio": 1.0,
            **dict.fromkeys(("noise", "gradient_error", "left_out", "gradient_left_out")),
        },
        {
            "latent_size": 16,
            "objective": "sampling_free",
            "num_probes": 1,
            "lanczos_steps": 8,
            "step_seconds": 0.005,
            "ratio": 0.25,
            "noise": 1.23,
            "gradient_error": 0.125,
            "left_out": 1.5e-5,
            "gradient_left_out": 2e-4,
        },
        {
            "latent_size": 16,
            "objective": "sampling",
            "step_seconds": 0.004,
            "noise": 3.0,
            "gradient_error": 0.5,
        },
    ]
    head, _, exact, probed, sampled = probes.markdown(rows).splitlines()
    assert head.startswith("| m | objective | probes | steps | step | ratio |")
    assert exact == "| 16 | `linearized` | m tangents |  | 20 ms | 1.00 |  |  |  |  |"
    assert probed == "| 16 | `sampling_free` | 1 | 8 | 5 ms | 0.25 | 1.23 | 12% | 2e-05 | 0.0002 |"
    assert sampled == "| 16 | `sampling` | 1 sample |  | 4 ms |  | 3 | 50% |  |  |"


@pytest.mark.slow
def test_rows_of_a_tiny_model(monkeypatch):
    """As many steps as latents leave nothing out; 64 probes have a tenth of the noise of one."""
    monkeypatch.setitem(probes._SETTING, "model.hidden_sizes", (8,))
    images = probes.digits()[:40]
    params = probes.trained(3, "linearized", images, 3)
    estimators = [{}, {"num_probes": 1, "lanczos_steps": 3}, {"num_probes": 64, "lanczos_steps": 3}]
    exact, one, many = probes.rows(3, "sampling_free", estimators, params, images[:4], 8)
    assert exact["noise"] is None
    assert exact["ratio"] == 1.0
    np.testing.assert_allclose([one["left_out"], one["gradient_left_out"]], 0.0, atol=1e-3)
    assert many["gradient_error"] < 0.4 * one["gradient_error"]
