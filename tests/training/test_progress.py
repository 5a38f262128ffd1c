"""Progress: a bar on a terminal, plain lines elsewhere."""

import io

import pytest

from sfvae_jax.training.progress import Progress


class _Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


def test_the_speed_leaves_out_what_happens_between_the_steps(monkeypatch):
    """Steps of 2 s, with validation, saves or measures of 50 s after the first five."""
    times = iter([0.0, 10.0, 60.0, 70.0])
    monkeypatch.setattr("sfvae_jax.training.progress.time.monotonic", lambda: next(times))
    monkeypatch.setattr("sys.stderr", _Terminal(False))
    with Progress(0, 20) as progress:
        monkeypatch.setattr(progress, "show", lambda *_: None)
        assert progress.update(5, 1.0) == 0.5
        progress.go_on()
        assert progress.update(10, 1.0) == 0.5


@pytest.mark.parametrize("is_terminal", [True, False])
def test_loss_rate_and_time_left_are_shown(monkeypatch, is_terminal):
    stream = _Terminal(is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(0, 20) as progress:
        rate = progress.update(10, 3.25)
        progress.update(20, 1.5)
    text = stream.getvalue()
    assert rate > 0
    assert "1.50" in text
    assert "20/20" in text
    if is_terminal:
        assert "\r" in text
        assert "steps/s" in text
        assert "s left" in text
    else:
        assert "\r" not in text
        assert "steps/s" in text
        assert "s left" in text
