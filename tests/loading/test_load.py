"""`sfvae_jax.load`: what a run gives from its folder alone is what training and evaluation saw."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_tiny_config
from jax import export
from run_folders import content, of_early_version

import sfvae_jax
from sfvae_jax import data
from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train

CHANGES = {
    "train.steps": 4,
    "train.checkpoint_every": 2,
    "train.steps_per_call": 1,
    "evaluations.steps": (),
    "evaluations.names": ("kl_divergence", "reconstruction", "lower_bound", "marginal_likelihood"),
    "evaluations.batch_size": 16,
    "evaluations.marginal_likelihood.num_samples": 20,
    "evaluations.marginal_likelihood.num_images": 5,
}
# The lines that users were promised.
PROMISED = """
run = sfvae_jax.load("runs/collapse")            # step=100, or the last
run.config, run.step, run.params, run.results
q = run.encode(x)                                # a posterior of the batch: q.mean, q.stddev
run.decode(z)                                    # means of p(x|z); run.likelihood for the rest
run.reconstruct(x); run.sample(rng, 16)          # density="prior" | "gaussian" | "mixture"
run.log_prob(rng, x, num_samples=500)            # nats; run.measure(x, names=(...))
run.export("model.npz")                          # parameters by name
run.export("decoder.stablehlo")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of digits whose folder was moved, the images it was evaluated on, its measures."""
    first = tmp_path_factory.mktemp("first") / "run"
    config = make_tiny_config(**CHANGES)
    train(config, first)
    metrics = evaluate(config, first)
    moved = tmp_path_factory.mktemp("moved") / "copy"
    shutil.move(first, moved)
    images = data.load(resolve(config).data, config.evaluations.part, for_evaluation=True)
    return moved, images, metrics


@pytest.fixture(scope="module")
def run(trained):
    return sfvae_jax.load(trained[0])


@pytest.fixture
def no_data(monkeypatch):
    """Whatever opens a data set fails, as where there is none."""

    def gone(group):
        raise UsageError("the data are gone")

    monkeypatch.setattr("sfvae_jax.data.splits.open_source", gone)


def test_a_run_gives_what_results_json_has(trained, run):
    _, images, metrics = trained
    assert run.step == 4
    assert run.results["metrics"] == metrics
    assert run.measure(images) == metrics
    of_floats = run.measure(images / np.float32(255), "reconstruction")
    expected = {k: v for k, v in metrics.items() if k.startswith("reconstruction")}
    assert of_floats == pytest.approx(expected, rel=1e-5)
    assert repr(run).startswith("<Run ")
    assert "sampling, mlp, posterior diagonal" in repr(run)
    assert run.workdir == trained[0]


def test_options_are_those_that_a_config_would_have(trained, run, tmp_path):
    workdir = shutil.copytree(trained[0], tmp_path / "other")
    kept = json.loads((workdir / "config.json").read_text())
    kept["evaluations"]["lower_bound"]["num_samples"] = 3
    (workdir / "config.json").write_text(json.dumps(kept))
    images = trained[1]
    options = {"lower_bound.num_samples": np.int64(3), "batch_size": 7}
    found = run.measure(images, "lower_bound", options=options)
    assert found == pytest.approx(sfvae_jax.load(workdir).measure(images, "lower_bound"), rel=1e-5)
    assert found != pytest.approx(run.measure(images, "lower_bound"), rel=1e-5)


def test_why_a_measure_cannot_be_trusted_is_logged(trained, run, no_data, monkeypatch, caplog):
    found = {"metrics": {"a": 1.0, "b": 2.0}, "caveats": {"a": "too few", "b": "too few"}}
    monkeypatch.setattr("sfvae_jax.run.measure", lambda model: found)
    _, images, _ = trained
    assert run.measure(images[:3]) == found["metrics"]
    assert caplog.messages == ["a, b: too few"]


def test_the_pieces_agree_with_each_other(trained, run, no_data):
    _, images, metrics = trained
    q = run.encode(images)
    assert q.mean.shape == q.stddev.shape == (40, 4)
    errors = np.sum(np.square(run.decode(q.mean) - images / np.float32(255)), axis=(1, 2, 3))
    assert np.mean(errors) == pytest.approx(metrics["reconstruction_error"], rel=1e-5)
    np.testing.assert_allclose(run.reconstruct(images), run.decode(q.mean), rtol=1e-5, atol=1e-6)
    kl = 0.5 * np.sum(q.mean**2 + q.stddev**2 - 1 - 2 * np.log(q.stddev), axis=1)
    assert np.mean(kl) == pytest.approx(metrics["kl_divergence"], rel=1e-5)
    means = jax.vmap(run.likelihood.mean)(run.likelihood_parameters(q.mean))
    np.testing.assert_allclose(means, run.decode(q.mean), rtol=1e-5, atol=1e-6)
    by_flax = run.model.apply(run.params, images[0] / np.float32(255), method="encode")
    np.testing.assert_allclose(q.mean[0], by_flax.mean, rtol=1e-5, atol=1e-6)


def test_log_prob_is_importance_sampling(trained, run, no_data):
    _, images, metrics = trained
    key = run._bare.rng  # that of the evaluation
    found = run.log_prob(key, images[:5], num_samples=20)
    assert np.mean(found) == pytest.approx(metrics["marginal_likelihood"], rel=1e-6)
    assert not np.array_equal(found, run.log_prob(1, images[:5], num_samples=20))
    raw = jax.random.PRNGKey(1)
    np.testing.assert_array_equal(run.log_prob(1, images[:2]), run.log_prob(raw, images[:2]))


def test_whole_numbers_and_floats_are_the_same_images(trained, run, no_data):
    images = trained[1][:6]
    expected = run.encode(images).mean
    unit = images / 255.0
    for same in (unit, unit.astype(np.float32), jnp.asarray(images), images.astype(int)):
        np.testing.assert_allclose(run.encode(same).mean, expected, rtol=1e-4, atol=1e-5)
    for coarse in (unit.astype(np.float16), jnp.asarray(unit, jnp.bfloat16)):
        np.testing.assert_allclose(run.encode(coarse).mean, expected, atol=0.1)
    bits = images > 127
    expected = run.encode(np.where(bits, np.uint8(255), np.uint8(0))).mean
    np.testing.assert_array_equal(run.encode(bits).mean, expected)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_any_number(trained, run, no_data, n):
    x, z = trained[1][:n], np.zeros((n, 4))
    q = run.encode(x)
    assert q.mean.shape == q.stddev.shape == (n, 4)
    for images in (run.decode(z), run.reconstruct(x), run.sample(0, n)):
        assert images.shape == (n, 28, 28, 1)
        assert images.dtype == np.float32
    assert run.likelihood_parameters(z).shape == (n, 28, 28, 1)
    assert run.log_prob(0, x, num_samples=3).shape == (n,)


def test_a_shape_is_compiled_once(trained, run, no_data, compiled):
    """40 images are taken in batches of 16, 16 and 8, which are two shapes."""
    images = trained[1]
    fresh = sfvae_jax.load(trained[0])
    with compiled() as names:
        whole = fresh.encode(images).mean
    assert sum("apply" in name for name in names) == 2
    calls = [
        lambda x, seed: fresh.encode(x).mean,
        lambda x, seed: fresh.reconstruct(x),
        lambda x, seed: fresh.likelihood_parameters(np.full((20, 4), seed)),
        lambda x, seed: fresh.sample(seed, 20),
        lambda x, seed: fresh.log_prob(seed, x[:3], num_samples=5),
        lambda x, seed: fresh.measure(x),
    ]
    for call in calls:
        call(images, 0)
        with compiled() as names:
            found = call(images[::-1], 1)
        assert names == []
        if call is calls[0]:
            np.testing.assert_allclose(found[::-1], whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("density", ["prior", "gaussian", "mixture"])
def test_samples(trained, run, density):
    first = run.sample(jax.random.key(3), 6, density)
    assert first.shape == (6, *trained[1].shape[1:])
    np.testing.assert_array_equal(first, run.sample(3, 6, density))
    if density != "prior":
        codes = np.tile([[1.0, 2.0, 3.0, 4.0]], (20, 1)) + 1e-6 * np.eye(20, 4)
        at = run.decode([[1.0, 2.0, 3.0, 4.0]])
        drawn = run.sample(3, 6, density, codes=codes)
        np.testing.assert_allclose(drawn, np.repeat(at, 6, axis=0), atol=1e-3)


def test_the_folder_is_left_as_it_is(trained, tmp_path, no_data):
    """It may be read-only; who is root is stopped by no permission, so the files are compared."""
    folder = shutil.copytree(trained[0], tmp_path / "run")
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = content(folder)
    try:
        run = sfvae_jax.load(folder)
        run.measure(trained[1])
        run.log_prob(0, trained[1][:2], num_samples=2)
        run.sample(0, 2)
        run.export(tmp_path / "model.npz")
        assert run.results["step"] == 4
    finally:
        for path in paths:
            path.chmod(0o755)
    assert content(folder) == before


def test_exports_are_read_back_by_numpy_and_jax(run, no_data, tmp_path, monkeypatch):
    arrays = np.load(run.export(tmp_path / "model.npz"))
    assert len(arrays.files) == len(jax.tree.leaves(run.params))
    kernel = run.params["params"]["decoder"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(arrays["params/decoder/Dense_0/kernel"], kernel)

    z = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    path = run.export(str(tmp_path / "decoder.stablehlo"))
    decoder = export.deserialize(bytearray(path.read_bytes()))
    assert set(decoder.platforms) == {"cpu", "cuda", "tpu"}
    for n in (1, 7):
        np.testing.assert_allclose(decoder.call(z[:n]), run.decode(z[:n]), rtol=1e-5, atol=1e-6)

    with pytest.raises(UsageError, match=r"must end with \.npz or \.stablehlo"):
        run.export(tmp_path / "model.onnx")
    with pytest.raises(RunError, match="cannot write .*model.npz: No such file or directory"):
        run.export(tmp_path / "none" / "model.npz")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"requires flatbuffers.*sfvae_jax\[export\]"):
        run.export(tmp_path / "decoder.stablehlo")


def test_a_named_step(trained, run, no_data):
    earlier = sfvae_jax.load(trained[0], step=2)
    assert earlier.step == 2
    kernels = [r.params["params"]["decoder"]["Dense_0"]["kernel"] for r in (earlier, run)]
    assert not np.array_equal(*kernels)


def _broken(folder, target, name, text):
    shutil.copytree(folder, target)
    (target / name).write_text(text)
    return target


WRONG_FOLDERS = {
    "of runs": (lambda f, t: f.parent, "holds no run; it has the runs copy"),
    "missing": (lambda f, t: t / "none", "none holds no run; there is no such folder"),
    "empty": (lambda f, t: t, "holds no run; it has no config.json"),
    "a file": (lambda f, t: f / "config.json", "holds no run; it is a file"),
    "of a newer version": (
        lambda f, t: _broken(f, t / "run", "config.json", '{"train": {"stepz": 1}}'),
        "run/config.json: unknown config key train.stepz; did you mean train.steps",
    ),
    "of an objective that is gone": (
        lambda f, t: _broken(f, t / "run", "config.json", '{"objective": {"name": "rea"}}'),
        "run/config.json: objective.name: unknown objective 'rea'; did you mean 'rae'",
    ),
    "of an objective that is no name": (
        lambda f, t: _broken(f, t / "run", "config.json", '{"objective": {"name": ["rae"]}}'),
        "run/config.json: objective.name must be ",
    ),
    "no JSON object": (
        lambda f, t: _broken(f, t / "run", "config.json", "[1]"),
        "cannot read .*run/config.json: ",
    ),
}


@pytest.mark.parametrize("kind", WRONG_FOLDERS)
def test_a_wrong_folder_is_told(trained, tmp_path, kind):
    make, message = WRONG_FOLDERS[kind]
    with pytest.raises(UsageError, match=message) as caught:
        sfvae_jax.load(make(trained[0], tmp_path))
    assert "\n" not in str(caught.value)


def test_a_run_without_checkpoints_is_told(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UsageError, match="holds no checkpoint yet"):
        sfvae_jax.load(tmp_path / "run")


WRONG_STEPS = {
    3: "the checkpoint of step 3 is not kept; choose from 2, 4",
    -1: "step -1 is not kept",
    "last": "step must be a whole number or None, got 'last'",
    True: "step must be a whole number or None, got True",
}


@pytest.mark.parametrize("step", WRONG_STEPS)
def test_a_wrong_step_is_told(trained, step):
    with pytest.raises(UsageError, match=WRONG_STEPS[step]):
        sfvae_jax.load(trained[0], step=step)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run, x: run.encode(x[0]), r"give x\[None\]"),
        (lambda run, x: run.encode(x[..., 0]), r"give x\[\.\.\., None\]"),
        (lambda run, x: run.encode(x[:, 1:]), r"\[N, 28, 28, 1\], got uint8"),
        (lambda run, x: run.encode(x * 2.0), r"expected floats in \[0, 1\]"),
        (lambda run, x: run.encode(x.astype(int) * 2), r"expected whole numbers in 0\.\.255"),
        (lambda run, x: run.encode(x / 255 + np.nan), "not finite"),
        (
            lambda run, x: run.encode((x > 9).astype(int)),
            "whole numbers up to 1, .*give booleans or 255",
        ),
        (lambda run, x: run.encode(["a"]), "x must be images"),
        (lambda run, x: run.encode("a"), "x must be images"),
        (lambda run, x: run.encode(x + 1j), "got complex128"),
        (lambda run, x: run.decode(np.zeros(4)), r"give z\[None\]"),
        (lambda run, x: run.decode(np.zeros((2, 5))), r"\[N, 4\], got \[2, 5\]"),
        (lambda run, x: run.decode([[np.inf] * 4]), "z has values that are not finite"),
        (lambda run, x: run.decode([["a"] * 4]), "z must be numbers"),
        (lambda run, x: run.sample(0, 2, "mixtures"), "did you mean 'mixture'"),
        (lambda run, x: run.sample(0, 2, codes=np.zeros((3, 4))), "leave codes out"),
        (lambda run, x: run.sample(0, 2, "gaussian", codes=np.zeros((3, 5))), r"\[N, 4\]"),
        (lambda run, x: run.sample(0, -1), "num_samples must be a whole number, 0 or more"),
        (lambda run, x: run.sample(None, 2), "rng must be a key such as jax.random.key.*NoneType"),
        (lambda run, x: run.log_prob(np.random.default_rng(0), x), "got Generator"),
        (lambda run, x: run.log_prob(jax.random.split(jax.random.key(0)), x), r"shape \[2\]"),
        (
            lambda run, x: run.sample(2**64, 1),
            "a seed of 64 bits or a key, got 18446",
        ),
        (lambda run, x: run.log_prob(0, x, 0), "num_samples must be a whole number, 1 or more"),
        (lambda run, x: run.measure(x, ("colapse",)), "did you mean 'collapse'"),
        (lambda run, x: run.measure(x, options={"lower_bound.sample": 2}), "lower_bound.num_sampl"),
        (lambda run, x: run.measure(x, options={"use_ema": True}), "unknown config key evaluation"),
        (lambda run, x: run.measure(x, options={2: True}), "unknown config key evaluations.2; "),
        (
            lambda run, x: run.measure(x, "lower_bound", options={"collapse.delta": 0.1}),
            "collapse.delta is not read, because 'collapse' is not measured, only lower_bound",
        ),
        (lambda run, x: run.measure(x, options={"batch_size": 0}), "evaluations.batch_size must b"),
        (lambda run, x: run.measure(x, options={"batch_size": "a"}), "must be .* got 'a'"),
        (lambda run, x: run.measure(x[:0]), "nothing to measure"),
        (lambda run, x: run.measure(x, "pictures"), "pictures: has no measures, only pictures"),
        (lambda run, x: sfvae_jax.load(run.workdir, use_ema="no"), "use_ema must be True, False"),
        (lambda run, x: run.sample(4, jax.random.key(0)), r"0 or more, got \w+ of shape \[\]"),
        (lambda run, x: jax.jit(run.encode)(x / 255), r"x must be an array, .*run\.model\.apply"),
        (lambda run, x: jax.jit(run.decode)(np.zeros((2, 4))), r"z must be an array, .*method='de"),
    ],
)
def test_errors_are_one_line(trained, run, call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call(run, trained[1])
    assert "\n" not in str(caught.value)


def test_without_its_data_a_run_says_what_needs_them(trained, no_data):
    run = sfvae_jax.load(trained[0])
    with pytest.raises(UsageError, match="the data are gone"):
        run.sample(0, 2, "gaussian")


def test_the_shape_of_a_source_is_known(trained, tmp_path, no_data):
    run = sfvae_jax.load(of_early_version(trained[0], tmp_path / "old"))
    assert run.example_shape == (28, 28, 1)


def _code(root, page):
    blocks = (root / page).read_text().split("```python\n")[1:]
    found = [block.partition("```")[0] for block in blocks]
    return found if page != "README.md" else [text for text in found if "sfvae_jax.load(" in text]


@pytest.mark.parametrize("page", ["README.md", "docs/loading.md", "promised"])
def test_the_code_in_the_documentation_runs(trained, root, tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained[0], tmp_path / "runs" / "collapse")
    x = trained[1][:2]
    space = {"x": x, "z": np.zeros((2, 4)), "rng": jax.random.key(0), "sfvae_jax": sfvae_jax}
    for code in [PROMISED] if page == "promised" else _code(root, page):
        exec(code, space)
    assert len(list(tmp_path.rglob("model.npz"))) == 1
    if page == "docs/loading.md":
        assert space["images"].shape == (40, 28, 28, 1)
        np.testing.assert_allclose(space["same"], space["images"], rtol=1e-5, atol=1e-6)
