"""Runs of every kind of model, on images of a file that is gone when they are loaded."""

import shutil

import jax
import numpy as np
import pytest
from helpers import ROOT, make_tiny_config
from jax import export
from run_folders import of_early_version, save_images, save_untrained

import sfvae_jax
from sfvae_jax import data, evaluate, objectives, plugins, train
from sfvae_jax.errors import UsageError

NAMES = ("kl_divergence", "reconstruction", "marginal_likelihood")


def _config(path, **changes):
    fewer = {
        "data.name": f"npz:{path}",
        "data.num_examples": 0,
        "objective.name": "sampling",
        "model.latent_size": 3,
        "model.hidden_sizes": (8,),
        "train.steps": 3,
        "train.steps_per_call": 1,
        "train.checkpoint_every": 3,
        "evaluations.steps": (),
        "evaluations.names": NAMES,
        "evaluations.marginal_likelihood.num_samples": 20,
        "evaluations.marginal_likelihood.num_images": 4,
    }
    return make_tiny_config(**{**fewer, **changes})


def _of(shape, **changes):
    return shape, {key.replace("__", "."): value for key, value in changes.items()}


FLOW = {"posterior__num_flows": 2, "posterior__hidden_sizes": (5,)}
SMALL = (4, 6, 1)
KINDS = {
    "full": _of(SMALL, posterior__name="full_covariance"),
    "linearized": _of(SMALL, posterior__name="linearized"),
    "planar": _of(SMALL, posterior__name="planar", posterior__num_flows=2),
    "iaf": _of(SMALL, posterior__name="iaf", **FLOW),
    "auxiliary": _of(SMALL, posterior__name="auxiliary_flow", **FLOW),
    "heteroscedastic": _of(SMALL, likelihood__name="heteroscedastic_gaussian"),
    "discretized": _of(SMALL, likelihood__name="discretized_logistic"),
    "bernoulli": _of(SMALL, likelihood__name="bernoulli", data__binarization="static"),
    "scaled": _of(SMALL, data__scale=4.0),
    "autoencoder": _of(SMALL, objective__name="rae_sn"),
    "wae": _of(SMALL, objective__name="wae_mmd"),
    "conv": _of((32, 32, 3), model__name="conv", model__channels=(2, 2, 2, 2)),
    "conv_elu": _of((8, 16, 1), model__name="conv_elu", model__channels=(2, 2, 4),
                    model__activation="elu"),
    "conv_bn": _of((16, 16, 1), model__name="conv_bn", model__channels=(2, 4)),
}  # fmt: skip
TRAINED = {  # what only training makes: running averages, the best of several validations
    "conv_bn": {},
    "early": _of(SMALL, data__num_valid=4, train__validate_every=1, train__stop_patience=1,
                 train__learning_rate=0.3, train__steps=6)[1],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(evaluate, "draw", lambda *arguments: None)


@pytest.mark.parametrize("kind", [*KINDS, "early"])
def test_it_measures_what_its_evaluation_did(kind, tmp_path):
    shape, changes = KINDS.get(kind, (SMALL, {}))
    save_images(tmp_path / "my.npz", shape)
    config = _config(tmp_path / "my.npz", **changes, **TRAINED.get(kind, {}))
    if kind in TRAINED:
        train.train(config, tmp_path / "run")
    else:
        save_untrained(config, tmp_path / "run")
    metrics = evaluate.evaluate(config, tmp_path / "run")
    images = data.load(config.data, config.evaluations.part, for_evaluation=True)
    (tmp_path / "my.npz").unlink()

    run = sfvae_jax.load(tmp_path / "run")
    assert run.example_shape == shape
    assert run.step == run.results["step"]
    assert run.measure(images) == metrics

    few = images[:3]
    q = run.encode(few)
    assert q.mean.shape == (3, 3)
    assert not hasattr(q, "stddev") or q.stddev.shape == (3, 3)
    codes = jax.vmap(lambda q: q.center())(q)
    rebuilt = run.reconstruct(few)
    assert rebuilt.shape == few.shape
    np.testing.assert_allclose(rebuilt, run.decode(codes), rtol=1e-4, atol=1e-5)
    parameters = run.likelihood_parameters(codes)
    means = jax.vmap(run.likelihood.mean)(parameters) / config.data.scale
    np.testing.assert_allclose(rebuilt, means, rtol=1e-4, atol=1e-5)
    if kind.startswith("conv") or kind in ("discretized", "scaled"):
        path = run.export(tmp_path / "decoder.stablehlo")
        decoded = export.deserialize(bytearray(path.read_bytes())).call(codes)
        np.testing.assert_allclose(decoded, rebuilt, rtol=1e-4, atol=1e-5)

    if not objectives.OBJECTIVES[config.objective.name].density:
        with pytest.raises(UsageError, match="log_prob does not apply .* does not train a density"):
            run.log_prob(0, few)
        if objectives.OBJECTIVES[config.objective.name].prior == "none":
            with pytest.raises(UsageError, match="density 'prior' does not apply"):
                run.sample(0, 2)
        assert run.sample(0, 2, "gaussian", codes=codes).shape == (2, *shape)
        return
    assert np.isfinite(run.log_prob(0, few, num_samples=3)).all()
    assert run.sample(0, 2).shape == (2, *shape)
    z, log_q = jax.vmap(lambda q, rng: q.sample_and_log_prob(rng))(
        q, jax.random.split(jax.random.key(0), 3)
    )
    assert z.shape == (3, 3)
    assert np.isfinite(log_q).all()


def test_the_networks_of_a_flow_are_kept_once(tmp_path):
    images = save_images(tmp_path / "my.npz", SMALL)
    changes = {**KINDS["iaf"][1], "evaluations.batch_size": 8}
    save_untrained(_config(tmp_path / "my.npz", **changes), tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    q = run.encode(images)
    shared = [leaf for leaf in jax.tree.leaves(q) if leaf.strides[0] == 0]
    assert shared
    assert all(len(leaf) == len(images) for leaf in jax.tree.leaves(q))
    one = run.encode(images[9:10])
    jax.tree.map(
        lambda all_of, single: np.testing.assert_allclose(all_of[9], single[0], rtol=1e-4),
        q,
        one,
    )


def test_floats_of_256_levels_are_bytes(tmp_path):
    images = save_images(tmp_path / "my.npz", SMALL)
    config = _config(tmp_path / "my.npz", **KINDS["discretized"][1])
    save_untrained(config, tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    expected = run.log_prob(0, images[:3], num_samples=4)
    np.testing.assert_array_equal(run.log_prob(0, images[:3] / 255, num_samples=4), expected)
    with pytest.raises(UsageError, match="between the 256 levels k / 255"):
        run.encode(images[:3] / 256)


def test_log_p_of_a_linear_decoder(tmp_path):
    """p(x) = N(W b, W W' + c I), by NumPy from the exported parameters."""
    images = save_images(tmp_path / "my.npz", (3, 2, 1))
    changes = {"model.hidden_sizes": (8,), "model.decoder_sizes": (), "model.latent_size": 2,
               "likelihood.variance": 0.7}  # fmt: skip
    save_untrained(_config(tmp_path / "my.npz", **changes), tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    arrays = np.load(run.export(tmp_path / "model.npz"))
    weights = arrays["params/decoder/Dense_0/kernel"].astype(float).T  # [6, 2]
    covariance = weights @ weights.T + 0.7 * np.eye(6)
    gaps = images[:8].reshape(8, 6) / 255 - arrays["params/decoder/Dense_0/bias"]
    squares = np.sum(gaps * np.linalg.solve(covariance, gaps.T).T, axis=1)
    expected = -0.5 * (squares + np.linalg.slogdet(2 * np.pi * covariance)[1])
    found = run.log_prob(0, images[:8], num_samples=20_000)
    np.testing.assert_allclose(found, expected, atol=0.05)

    z = np.random.default_rng(1).standard_normal((5, 2))
    by_hand = z @ weights.T + arrays["params/decoder/Dense_0/bias"]
    np.testing.assert_allclose(run.decode(z).reshape(5, 6), by_hand, rtol=1e-4, atol=1e-5)


def test_decoding_by_hand(tmp_path):
    """Two dense layers with a ReLU between and a sigmoid after, from the exported parameters."""
    save_images(tmp_path / "my.npz", SMALL)
    changes = {"model.output_activation": "sigmoid", "model.activation": "relu"}
    save_untrained(_config(tmp_path / "my.npz", **changes), tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    arrays = np.load(run.export(tmp_path / "model.npz"))
    z = np.random.default_rng(1).standard_normal((5, 3))
    first, last = (
        [arrays[f"params/decoder/Dense_{i}/{name}"] for name in ("kernel", "bias")] for i in (0, 1)
    )
    hidden = np.maximum(z @ first[0] + first[1], 0)
    by_hand = 1 / (1 + np.exp(-(hidden @ last[0] + last[1])))
    np.testing.assert_allclose(run.decode(z).reshape(5, -1), by_hand, rtol=1e-4, atol=1e-5)


def test_a_floating_prior_is_read_or_fitted(tmp_path):
    path = tmp_path / "my.npz"
    images = save_images(path, SMALL)
    config = _config(path, **{"objective.name": "constant_variance"})
    save_untrained(config, tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    fitted = run.log_prob(0, images[:3], num_samples=5)
    path.unlink()
    run = sfvae_jax.load(tmp_path / "run")
    run.encode(images)
    with pytest.raises(UsageError, match="prior of this run is fitted .*--mode=evaluate"):
        run.log_prob(0, images[:3])
    with pytest.raises(UsageError, match=r"npz:.*my\.npz"):
        run.sample(0, 3, "mixture")

    save_images(path, SMALL)
    evaluate.evaluate(config, tmp_path / "run")
    path.unlink()
    run = sfvae_jax.load(tmp_path / "run")
    np.testing.assert_allclose(run.log_prob(0, images[:3], num_samples=5), fitted, rtol=1e-5)


def test_a_folder_of_images_that_is_gone(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 5, 7, 3), np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    save_untrained(_config("", **{"data.name": f"folder:{folder}"}), tmp_path / "run")
    for path in folder.iterdir():
        path.unlink()
    run = sfvae_jax.load(tmp_path / "run")
    assert run.reconstruct(pixels).shape == (12, 5, 7, 3)


def test_a_likelihood_of_a_plugin(tmp_path):
    """The plugin is imported where it is, or where it is said to be; else it is asked for."""
    images = save_images(tmp_path / "my.npz", SMALL)
    path = shutil.copy(ROOT / "examples/plugins/laplace_likelihood.py", tmp_path / "parts.py")
    changes = {"plugins": (str(path),), "likelihood.name": "laplace"}
    with plugins.isolated():
        save_untrained(_config(tmp_path / "my.npz", **changes), tmp_path / "run")
    with plugins.isolated():
        run = sfvae_jax.load(tmp_path / "run")
        assert run.likelihood.scale == 0.1
        expected = run.log_prob(0, images[:3], num_samples=5)
    moved = shutil.move(path, tmp_path / "moved.py")
    with plugins.isolated(), pytest.raises(UsageError, match=r"needs the plugin .*load\(\.\.\., p"):
        sfvae_jax.load(tmp_path / "run")
    for given in ((moved,), moved):
        with plugins.isolated():
            run = sfvae_jax.load(tmp_path / "run", plugins=given)
            np.testing.assert_array_equal(run.log_prob(0, images[:3], num_samples=5), expected)


# ---- runs of early versions, which do not record the shape of an example ----


def _early(tmp_path, shape, **changes):
    path = tmp_path / "my.npz"
    save_images(path, shape)
    save_untrained(_config(path, **changes), tmp_path / "new")
    return path, of_early_version(tmp_path / "new", tmp_path / "run")


@pytest.mark.parametrize(("shape", "channels"), [((5, 5, 1), 0), ((4, 4, 3), 0), ((4, 4, 3), 3)])
def test_square_images_follow_from_the_parameters(tmp_path, caplog, shape, channels):
    path, folder = _early(tmp_path, shape, **{"data.channels": channels})
    path.unlink()
    assert sfvae_jax.load(folder).example_shape == shape
    assert "If it was another, give load(..., shape=...)" in caplog.text


def test_convolutions_tell_the_size(tmp_path):
    path, folder = _early(tmp_path, *KINDS["conv_bn"][:1], **KINDS["conv_bn"][1])
    path.unlink()
    assert sfvae_jax.load(folder).example_shape == (16, 16, 1)


def test_images_that_are_not_square_follow_from_the_data_or_are_told(tmp_path):
    path, folder = _early(tmp_path, (2, 8, 1))
    assert sfvae_jax.load(folder).example_shape == (2, 8, 1)  # not the square 4 x 4
    path.unlink()
    assert sfvae_jax.load(folder, shape=[2, 8, 1]).example_shape == (2, 8, 1)
    for shape in ((2, 9, 1), (28, 28, 1)):
        with pytest.raises(UsageError, match="the parameters of .* are not those of 'mlp'"):
            sfvae_jax.load(folder, shape=shape)
    for shape in ((2, 8.0, 1), (), (0, 8, 1), "28"):
        with pytest.raises(UsageError, match="shape must be whole numbers above 0"):
            sfvae_jax.load(folder, shape=shape)


def test_a_shape_that_nothing_tells_is_asked_for(tmp_path):
    path, folder = _early(tmp_path, (2, 5, 1))
    save_images(path, (3, 5, 1))  # the data have changed
    with pytest.raises(UsageError, match=r"\[3, 5, 1\], which its parameters do not fit.*shape="):
        sfvae_jax.load(folder)
    path.unlink()
    with pytest.raises(UsageError, match=r"does not say .*my\.npz.*; give load\(\.\.\., shap"):
        sfvae_jax.load(folder)
