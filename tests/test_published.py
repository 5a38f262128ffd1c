"""The setting that a paper's figures are of, and what is told of runs in another."""

import pytest
from conftest import ROOT, load_config

from sfvae_jax.published import meets, other_data, with_differences
from sfvae_jax.training.settings import flatten, plain

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_has_the_setting_of_its_figures(name):
    config = load_config(name).get_config()
    published = with_differences(config)
    digits = {"data.name": ["mnist_5k", "mnist"]}  # the embedded ones, in the place of all
    assert published["differences"] == (digits if name == "mnist_collapse" else {})
    setting = flatten(published["setting"])
    assert {
        "data.name",
        "model.latent_size",
        "train.steps",
        "likelihood.variance",
    } <= setting.keys()
    assert not {"seed", "train.log_every", "evaluations.names"} & setting.keys()
    with config.unlocked():
        config.data.name = "folder:/my/cats"
        config.model.latent_size = 3
    published = with_differences(config)
    rows = flatten({"rows": published.get("rows", {})})
    if not any(key.endswith("where.data.name") for key in rows):
        assert published["differences"]["data.name"][0] == "folder:/my/cats"
        assert other_data(flatten(plain(config)), published) == setting["data.name"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_laptop_preset_is_told_from_the_papers_setting(name):
    config = load_config(name).get_config("laptop")
    differences = with_differences(config)["differences"]
    assert differences
    assert ("data.name" in differences) == (config.data.name not in ("architectures", "equations"))


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("folder:/data/rendered_chairs", "folder:rendered_chairs", True),
        ("folder:rendered_chairs/", "folder:rendered_chairs", True),
        ("folder:/rendered_chairs/cats", "folder:rendered_chairs", False),
        ("npz:rendered_chairs", "folder:rendered_chairs", False),
        ("mnist", "mnist", True),
        ("mnist_5k", "mnist", False),  # rows tell these apart
        (None, "mnist", False),
    ],
)
def test_a_row_of_a_folder_is_found_wherever_the_folder_lies(here, there, expected):
    config = {"data.name": here, "seed": 0}
    assert meets(config, {"data.name": there}) == expected
    assert not meets(config, {"data.name": there, "seed": 1})


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("mnist_5k", "mnist", None),
        ("folder:/data/rendered_chairs", "folder:rendered_chairs", None),
        ("folder:/data/cats", "folder:rendered_chairs", "folder:rendered_chairs"),
        ("folder:celeba", "celeb_a", "celeb_a"),
        ("fashion_mnist", "mnist", "mnist"),
    ],
)
def test_which_data_are_the_same(here, there, expected):
    figures = {"setting": {"data": {"name": there}}, "rows": {}}
    assert other_data({"data.name": here}, figures) == expected
    rows = {"a": {"where": {"data": {"name": here}}}}
    assert other_data({"data.name": here}, {**figures, "rows": rows}) is None
