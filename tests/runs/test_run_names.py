"""Names of runs for which no workdir is given; those of sweeps are tested there."""

from sfvae_jax.runs.run_names import name_of, name_of_command, names_of


def test_a_command_has_one_name_in_whatever_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = "configs/mnist_collapse.py"
    assert name_of_command(file, {}) == "mnist_collapse"
    name = name_of_command(f"{file}:laptop", {"seed": 3, "objective.name": "rae"})
    assert name == "mnist_collapse-laptop,objective.name=rae,seed=3"
    other = {"objective.name": "rae", "seed": 3}
    assert name == name_of_command(f"{tmp_path}/{file}:laptop", other)


def test_runs_of_a_sweep_that_differ_in_case_alone_have_a_digest():
    runs = [{"data.name": "a"}, {"data.name": "A"}, {"data.name": "b"}, {"data.name": "b"}]
    lower, upper, *others = names_of(runs)
    assert lower.startswith("data.name=a-")
    assert upper.startswith("data.name=A-")
    assert lower.lower() != upper.lower()
    assert others == ["data.name=b"] * 2  # which are the same run
    long = [{"data.name": letter * 300} for letter in "xX"]
    assert all(len(name) <= 100 for name in names_of(long))


def test_a_path_that_is_no_utf_8_has_a_name():
    assert name_of({"data.name": "npz:caf\udce9"}) != name_of({"data.name": "npz:caf\udce8"})
    assert name_of_command("configs/caf\udce9.py", {}).startswith("caf-")


def test_no_two_commands_have_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [
        ("configs/a.py", {}),
        ("a.py", {}),
        ("../a.py", {}),
        ("configs/own/a.py", {}),
        ("configs/a.txt", {}),
        ("configs/a.py:b", {}),
        ("configs/a-b.py", {}),
        ("configs/a-b.py:c", {}),
        ("configs/a.py:b-c", {}),
        ("configs/a.py", {"seed": 1}),
        ("configs/a,seed=1.py", {}),
        ("configs/a.py:,seed=1", {}),
        ("configs/a.py", {"data.name": "x", "seed": 1}),
        ("configs/a.py", {"data.name": "x,seed=1"}),
        ("configs/a.py", {"data.name": "'x,seed=1'"}),
        ("configs/a.py", {"model.hidden_sizes": (16, 8)}),
        ("configs/a.py", {"model.hidden_sizes": (1, 68)}),
        ("configs/a.py", {"evaluations.names": ("ab", "c")}),
        ("configs/a.py", {"evaluations.names": ("a", "bc")}),
        ("configs/a.py", {"data.name": "npz:a/b.npz"}),
        ("configs/a.py", {"data.name": "npz:a-b.npz"}),
        *(("configs/a.py", {"data.name": "x" * 200, "seed": seed}) for seed in range(3)),
    ]
    names = [name_of_command(file, overrides) for file, overrides in commands]
    assert len(set(names)) == len(commands)
    for name in names:
        assert len(name) <= 100
        assert not set(name) & set(" /:*?'\"$&();<>|\\[]")
