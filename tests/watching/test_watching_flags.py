"""--tensorboard and --profile as a user gives them."""

from event_files import Read
from helpers import records


def test_a_run_with_both(run_main, tmp_path):
    done = run_main(tmp_path, "--tensorboard", "--profile=4:4")
    assert done.returncode == 0, done.stderr
    assert "profile: a trace of steps 4 to 4 is in" in done.stderr
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    read = Read(tmp_path / "tensorboard")
    told = [step for step, _ in read.scalars["loss/loss"]]
    assert told == [record["step"] for record in records(tmp_path)]
    assert read.scalars["final/collapse_fraction"][0][0] == 12
    assert "final/reconstructions" in read.pictures


def test_a_profile_of_an_evaluation_is_refused(run_main, tmp_path):
    done = run_main(tmp_path / "run", "--mode=evaluate", "--profile=1:2")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line == (
        "sfvae_jax: error: --profile traces training, and --mode=evaluate does not train"
    )
