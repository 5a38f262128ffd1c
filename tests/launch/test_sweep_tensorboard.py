"""sweep --tensorboard passes the flag to each of its runs."""

import sys

import pytest
from helpers import ROOT

from launch import sweep

FLAGS = (f"--config={ROOT}/configs/mnist_collapse.py:laptop", "--grid.seed=0,1")


@pytest.mark.parametrize("flags", [(), ("--tensorboard",)])
def test_each_run_is_given_the_flag(tmp_path, capsys, flags):
    assert sweep.main([*FLAGS, f"--workdir={tmp_path}", "--dry-run", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.endswith(" --tensorboard") == bool(flags) for line in lines)


def test_it_is_refused_at_once_without_tensorboardx(tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert sweep.main([*FLAGS, f"--workdir={tmp_path / 'sweep'}", "--tensorboard"]) == 2
    assert "pip install 'sfvae_jax[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
