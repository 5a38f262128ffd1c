"""The functions that put errors into words."""

from sfvae_jax.errors import in_one_line, listed, readable, unknown_name


def test_names_beyond_the_most_are_counted():
    assert listed([], 2) == ""
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_an_error_is_told_in_one_line():
    assert in_one_line(ValueError("one\n  two\t three ")) == "one two three"
    assert in_one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert readable("caf\u00e9 \x1b[2J\udcff") == "caf\u00e9 ?[2J?"


def test_an_unknown_name_gets_the_one_that_was_probably_meant():
    known = ["bilbo", "sampling", "iwae"]
    assert "did you mean 'sampling'?" in str(unknown_name("objective", "ELBO", known))
    assert "did you mean 'bilbo'?" in str(unknown_name("objective", "bilbao", known))
    assert "did you mean" not in str(unknown_name("evaluation", "elbo", ["collapse"]))
