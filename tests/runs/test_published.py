"""The setting of a paper's figures, and how runs with other settings are described."""

import json

import pytest
from helpers import ROOT, load_config

from sfvae_jax.reporting.published_rows import PublishedRow
from sfvae_jax.reporting.summary import summarize
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.published import meets, other_data, with_differences

# All but the one for a user's own data, which quotes no paper.
CONFIGS = sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - {"vae"})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_has_the_setting_of_its_figures(name):
    config = load_config(name).get_config()
    published = with_differences(config)
    here = {  # what comes with the installation, in the place of what the paper has
        "mnist_collapse": ["mnist_5k", "mnist"],
        "equations": ["equations", "equations:equation2_15_dataset.txt"],
    }
    assert published["differences"] == ({"data.name": here[name]} if name in here else {})
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
    assert ("data.name" in differences) == (config.data.name != "architectures")


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


def test_both_log_determinants_stand_beside_the_papers_row():
    """Table 4 has one row of the sampling-free model; the sweep has two objectives."""
    module, changes = load_config("mnist_collapse"), []
    module.sweep(lambda **run: changes.append(run))
    runs = []
    for change in changes:
        config = module.get_config()
        config.update_from_flattened_dict(change)
        measured = {"step": 1000, "metrics": {"collapse_fraction": 0.0}}
        figures = json.loads(json.dumps(with_differences(config)))
        runs.append({"config": plain(config), "published": figures, **measured})
    cells = {
        method["method"]: method["measures"]["collapse_fraction"]["1000"]["published"]
        for method in summarize(runs)["methods"]
    }
    assert cells == {
        "sampling": [0.6, 0.157],
        "sampling_free (objective.log_det_weight=1.0)": [0.006, 0.006],
        "sampling_free (objective.log_det_weight=gamma)": [0.006, 0.006],
    }


def test_a_weight_on_the_bend_makes_a_method_that_the_paper_does_not_have():
    config = load_config("mnist_estimators").get_config()
    found = {}
    for config.objective.bend_weight in (0.0, 1.0):
        figures = json.loads(json.dumps(with_differences(config)))
        row = PublishedRow({"config": plain(config), "published": figures})
        found[config.objective.bend_weight] = row.at("nll_without_constant", "300000", last=True)
    assert found[0.0].mean == 26.18
    assert found[1.0] is None
