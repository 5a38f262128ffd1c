"""The shell scripts: dry runs, and runs with commands that only record their arguments."""

import os
import shlex
import shutil
import subprocess

import pytest
from helpers import ROOT

POD = ("--name=pod", "--zone=us-central2-b", "--type=v4-32")
RUN = ("--config=configs/celeba.py", "--config.model.hidden_sizes=(5, 4)", "--workdir=/mnt/b/run")
WHERE = "--zone=us-central2-b"

RECORD = """#!/usr/bin/env bash
printf '%q ' "$(basename "$0")" "$@" >> "$RECORDS"
echo >> "$RECORDS"
"""


@pytest.fixture
def records(tmp_path):
    """The commands that were run, one a line, each a list of words."""
    path = tmp_path / "records"
    path.touch()
    return lambda: [shlex.split(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(tmp_path, records):
    """Runs a script; `fakes` are further lines of commands that stand in for the real ones."""

    def run(script, *arguments, environment=None, **fakes):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, lines in fakes.items():
            (folder / name).write_text(RECORD + lines)
            (folder / name).chmod(0o755)
        variables = {key: os.environ[key] for key in os.environ if key != "TFDS_DATA_DIR"}
        variables |= {"PATH": f"{folder}:{os.environ['PATH']}", "RECORDS": f"{tmp_path}/records"}
        return subprocess.run(
            ["bash", str(ROOT / "launch" / script), *arguments],
            env=variables | (environment or {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def assert_refused(done, message):
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_dry_run_of_a_pod(run, records):
    options = ("--spot", "--project=mine", "--bucket=b", "--dry-run", "--version=tpu-vm-v4-base")
    done = run("tpu_pod.sh", *POD, *options, "--", *RUN, environment={"TFDS_DATA_DIR": "/d d"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    assert all(command[:4] == ["gcloud", "compute", "tpus", "tpu-vm"] for command in commands)
    assert all(command[-2:] == [WHERE, "--project=mine"] for command in commands)
    listed, created, looked, copied, installed, mounted, trained = [c[4:-2] for c in commands]
    assert listed == ["list", "--filter=name~(^|/)pod$", "--format=value(state)"]
    kind = ["--accelerator-type=v4-32", "--version=tpu-vm-v4-base", "--spot"]
    assert created == ["create", "pod", *kind]
    assert copied == ["scp", "sfvae_jax.tar.gz", "pod:sfvae_jax.tar.gz", "--worker=all"]
    for command in (looked, installed, mounted, trained):
        assert command[:3] == ["ssh", "pod", "--worker=all"]
        assert len(command) == 4
    assert '-e ./sfvae_jax "jax[tpu]"' in installed[3]
    assert "gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 b /mnt/b" in mounted[3]
    remote = trained[3].removeprefix("--command=set -o pipefail; cd sfvae_jax && ")
    words = shlex.split(remote.partition(" 2>&1 | ")[0])
    main = ["nohup", "../venv/bin/python", "-m", "sfvae_jax.main", "--distributed"]
    assert words == ["env", "TFDS_DATA_DIR=/d d", *main, *RUN]


def test_a_missing_slice_is_created_and_the_tracked_files_are_shipped(run, records, tmp_path):
    keep = f'[[ $4 == scp ]] && cp "$5" {tmp_path}/shipped.tar.gz; true\n'
    done = run("tpu_pod.sh", *POD, "--", *RUN, gcloud=keep)
    assert done.returncode == 0, done.stderr
    assert [command[4] for command in records()] == ["list", "create", "ssh", "scp", "ssh", "ssh"]
    listing = subprocess.run(
        ["tar", "-tzf", str(tmp_path / "shipped.tar.gz")], capture_output=True, text=True
    )
    shipped = set(listing.stdout.split())
    assert {"setup.cfg", "sfvae_jax/main.py", "configs/celeba.py"} <= shipped
    assert not any(name.startswith(".git/") for name in shipped)
    remote = records()[-1][-2]
    assert "TFDS_DATA_DIR" not in remote
    assert shlex.quote(RUN[1]) in remote or r"\(5\,\ 4\)" in remote


def test_a_slice_that_is_ready_is_used(run, records):
    done = run("tpu_pod.sh", *POD, "--", *RUN, gcloud="[[ $4 == list ]] && echo READY; true\n")
    assert done.returncode == 0, done.stderr
    assert [command[4] for command in records()] == ["list", "ssh", "scp", "ssh", "ssh"]


@pytest.mark.parametrize(
    ("gcloud", "status", "message", "asked"),
    [
        ("[[ $4 == list ]] && echo PREEMPTED", 1, "tpu-vm delete pod --zone", ["list"]),
        ("[[ $4 == list ]] && echo CREATING", 1, "slice pod is CREATING", ["list"]),
        ("exit 4", 1, "cannot list the slices", ["list"]),
        ("[[ $4 != create ]]", 1, "", ["list", "create"]),
        ("[[ $4 != ssh ]]", 1, "cannot ask all workers of slice pod", ["list", "create", "ssh"]),
        ("[[ $4 != scp ]]", 1, "", ["list", "create", "ssh", "scp"]),
        (
            '[[ "$*" != *main* ]] || exit 143',
            143,
            "",
            ["list", "create", "ssh", "scp", "ssh", "ssh"],
        ),
    ],
)
def test_a_failing_command_ends_the_script(run, records, gcloud, status, message, asked):
    done = run("tpu_pod.sh", *POD, "--", *RUN, gcloud=gcloud + "\n")
    assert done.returncode == status
    assert message in done.stderr
    assert [command[4] for command in records()] == asked


def test_a_slice_with_an_active_run_is_left_alone(run, records):
    answers = "[[ $4 == list ]] && echo READY; [[ $4 == ssh ]] && echo AT_WORK; true\n"
    done = run("tpu_pod.sh", *POD, "--", *RUN, gcloud=answers)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        "tpu_pod.sh: error: a run is active on slice pod; wait, or let it save and stop: gcloud"
        f" compute tpus tpu-vm ssh pod {WHERE} --worker=all --command='pkill -f ^../venv/bin'"
    ]
    assert [command[4] for command in records()] == ["list", "ssh"]


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="pgrep is not installed")
def test_the_question_to_a_worker_finds_a_run(run, tmp_path):
    lines = run("tpu_pod.sh", *POD, "--dry-run", "--", *RUN).stdout.splitlines()
    asked = next(word for word in shlex.split(lines[2]) if word.startswith("--command="))
    # Only of this test's processes.
    mine = asked.removeprefix("--command=").replace("pgrep", f"pgrep -P {os.getpid()}")
    ask = ["bash", "-c", mine]
    assert subprocess.run(ask, capture_output=True, text=True).stdout == ""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/sleep")
    (tmp_path / "code").mkdir()
    with subprocess.Popen(["../venv/bin/python", "600"], cwd=tmp_path / "code") as process:
        try:
            assert subprocess.run(ask, capture_output=True, text=True).stdout == "AT_WORK\n"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (POD[:2], "--name, --zone and --type are required"),
        (POD, "--config=FILE.py and --workdir=DIR are required after --"),
        ((*POD, "--", RUN[0]), "--config=FILE.py and --workdir=DIR are required after --"),
        (("--name=a*", *POD[1:], "--", *RUN), "--name is 'a*'; expected lower-case letters"),
        (("--name=-x", *POD[1:], "--", *RUN), "--name is '-x'; expected lower-case letters"),
        (("--name=a b", *POD[1:], "--", *RUN), "--name is 'a b'; expected lower-case letters"),
        (("--name=a\nb", *POD[1:], "--", *RUN), "--name is 'a?b'; expected lower-case"),
        ((*POD, "--bucket=b; touch x", "--", *RUN), "--bucket is 'b; touch x'; expected the name"),
        ((*POD, "--bucket=$(touch x)", "--", *RUN), "--bucket is '$(touch x)'; expected the name"),
        ((*POD, "--bucket=-o", "--", *RUN), "--bucket is '-o'; expected the name of a bucket"),
        ((*POD, "--bucket=gs://b", "--", *RUN), "--bucket is 'gs://b'; expected the name of a"),
        ((*POD, "--zone=b --x", "--", *RUN), "--zone is 'b --x'; expected a zone such as"),
        ((*POD, "--type=--x", "--", *RUN), "--type is '--x'; expected a type such as v4-32"),
        ((*POD, "--version=;", "--", *RUN), "--version is ';'; expected a version such as"),
        ((*POD, "--project=a,b", "--", *RUN), "--project is 'a,b'; expected the id of a project"),
        ((*POD, RUN[0]), "unknown option '--config=configs/celeba.py'; arguments of sfvae_jax"),
    ],
)
def test_a_pod_needs_its_options(run, records, arguments, message):
    assert_refused(run("tpu_pod.sh", *arguments, gcloud=""), f"tpu_pod.sh: error: {message}")
    assert records() == []


SRUN = ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=0"]
MAIN = ["python", "-m", "sfvae_jax.main", "--distributed"]


def test_dry_run_of_a_slurm_job(run, records):
    done = run("slurm.sbatch", "--dry-run", *RUN, srun="", scontrol="")
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == [*SRUN, *MAIN, *RUN]
    assert records() == []


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (2, False), (143, True)])
def test_a_slurm_job_that_saved_is_queued_again(run, records, status, requeued):
    job = {"SLURM_JOB_ID": "17", "SECONDS": "61"}  # bash counts on from there
    done = run("slurm.sbatch", *RUN, environment=job, srun=f"exit {status}\n", scontrol="")
    assert done.returncode == status
    assert records() == [[*SRUN, *MAIN, *RUN], *[["scontrol", "requeue", "17"]] * requeued]


def test_a_slurm_job_without_progress_is_not_queued_again(run, records):
    done = run(
        "slurm.sbatch", *RUN, environment={"SLURM_JOB_ID": "17"}, srun="exit 143\n", scontrol=""
    )
    assert done.returncode == 1
    assert "is not queued again" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(records()) == 1


@pytest.mark.parametrize("number", [None, "32"])
def test_a_slurm_job_passes_on_its_processors(run, number):
    job = {"SLURM_CPUS_PER_TASK": number} if number else {}
    shows = 'echo "${SRUN_CPUS_PER_TASK:-none}"\n'
    assert run("slurm.sbatch", *RUN, environment=job, srun=shows).stdout == f"{number or 'none'}\n"


def test_the_header_of_a_slurm_job():
    lines = (ROOT / "launch" / "slurm.sbatch").read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert {"--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(options)
    assert "--signal=TERM@300" in options
    # SLURM reads no option behind the first command.
    assert lines.index("set -euo pipefail") > lines.index(f"#SBATCH {options[-1]}")


def test_a_slurm_job_needs_config_and_workdir(run, records):
    assert_refused(run("slurm.sbatch", RUN[0], srun=""), "--config=FILE.py and --workdir=DIR")
    assert records() == []


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_are_clean():
    names = ["launch/tpu_pod.sh", "launch/slurm.sbatch", "benchmarks/accelerator.sh", ".ci/run"]
    done = subprocess.run(["shellcheck", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
