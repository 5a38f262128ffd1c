"""The table of objectives says what the functions are."""

import inspect
import subprocess
import sys

import pytest

from sfvae_jax import likelihoods, objectives, posteriors


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, info in objectives.OBJECTIVES.items()
        if info.takes_likelihood(likelihoods.LIKELIHOODS["categorical"])
    ],
)
def test_sequences_have_functions_that_take_their_likelihood(name):
    info = objectives.OBJECTIVES[name]
    takes_one = [
        "likelihood" in inspect.signature(getattr(objectives, function)).parameters
        for function in (info.function, info.of_sequences)
        if function
    ]
    assert takes_one == ([False, True] if info.of_sequences else [True])


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_entries_fit_their_functions(name):
    info = objectives.OBJECTIVES[name]
    function = getattr(objectives, info.function)
    rng = inspect.signature(function).parameters.get("rng")
    required = rng is not None and rng.default is inspect.Parameter.empty
    assert required != info.deterministic  # a deterministic one may take probes
    assert "Raises" in inspect.getdoc(function)
    assert info.posteriors_in(posteriors.POSTERIORS)[0] == info.default_posterior
    assert "gaussian" in info.likelihoods_in(likelihoods.LIKELIHOODS)
    assert info.bound.split(":")[0].split(",")[0] in ("yes", "no")


def test_the_heart_imports_nothing_of_the_project_but_itself():
    """No Flax, no config: someone with another network library uses it as it is."""
    script = (
        "import sys, importlib.util\n"
        "import types\n"
        "package = types.ModuleType('sfvae_jax')\n"
        "package.__path__ = importlib.util.find_spec('sfvae_jax').submodule_search_locations\n"
        "sys.modules['sfvae_jax'] = package\n"
        "import sfvae_jax.objectives\n"
        "mine = {n for n in sys.modules if n.startswith('sfvae_jax.')}\n"
        "print(sorted(n for n in mine if not n.startswith('sfvae_jax.objectives')),\n"
        "      'flax' in sys.modules, 'ml_collections' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "False", "False"]
