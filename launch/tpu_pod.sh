#!/usr/bin/env bash
# One run on every worker of a Cloud TPU slice:
#
#   launch/tpu_pod.sh --name=pod --zone=us-central2-b --type=v4-32 -- \
#       --config=configs/celeba.py --workdir=/mnt/BUCKET/celeba
#
# Uses the slice with this name, or creates it; ships the files that git tracks, as they are now;
# installs them; runs `python -m sfvae_jax.main --distributed` with the arguments after `--` on every
# worker, and shows the output. The same command continues from the last checkpoint; while a run is
# active on the slice, the command is refused.
#
# The workdir must be a folder that all workers share: in a Filestore or another NFS that they mount,
# or in a bucket that --bucket mounts. The bucket needs a hierarchical namespace: only there is a
# folder renamed, and thus a checkpoint finished, in one step.
#
#   --name=NAME --zone=ZONE --type=TYPE   the slice, with a type such as v4-32 (required)
#   --version=VERSION   the version of its software (default: tpu-ubuntu2204-base)
#   --project=PROJECT   the project (default: that of gcloud)
#   --spot              creates a cheaper slice, which may be preempted
#   --bucket=BUCKET     mounts gs://BUCKET as /mnt/BUCKET on every worker, with gcsfuse
#   --dry-run           prints the commands and runs none
#
# If TFDS_DATA_DIR is set here, it is set there too. Each worker keeps its output in ~/run.log.
# A run continues when the connection is lost or this script ends. This command lets it save and stop:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command="pkill -f ^../venv/bin"
set -euo pipefail

fail() {
    echo "tpu_pod.sh: error: $1" >&2
    exit "${2:-2}"
}

name='' zone='' type='' version=tpu-ubuntu2204-base bucket='' dry_run=false
project=() spot=()
while (($#)); do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --version=*) version=${1#*=} ;;
        --project=*) project=("--project=${1#*=}") ;;
        --spot) spot=(--spot) ;;
        --bucket=*) bucket=${1#*=} ;;
        --dry-run) dry_run=true ;;
        --) shift && break ;;
        *) fail "unknown option '$1'; arguments of sfvae_jax.main go after --" ;;
    esac
    shift
done
[[ $name && $zone && $type ]] || fail "--name, --zone and --type are required"

# Google Cloud allows only these values: none has a character that is special to a shell, to gcloud or
# to its filters, or that turns a value into an option. What follows `--` is quoted instead.
check() { # FLAG VALUE PATTERN EXPECTED
    local LC_ALL=C # in which [a-z] has no other letters
    [[ $2 =~ ^($3)$ ]] || fail "$1 is '${2//[[:cntrl:]]/?}'; expected $4"
}
check --name "$name" '[a-z]([a-z0-9-]{0,61}[a-z0-9])?' 'lower-case letters, digits and hyphens'
check --zone "$zone" '[a-z][a-z0-9-]*' 'a zone such as us-central2-b'
check --type "$type" 'v[a-z0-9-]+' 'a type such as v4-32'
check --version "$version" '[a-z][a-z0-9.-]*' 'a version such as tpu-ubuntu2204-base'
[[ ! ${project-} ]] || check --project "${project#*=}" '[a-z][a-z0-9.:-]*' 'the id of a project'
[[ ! $bucket ]] || check --bucket "$bucket" '[a-z0-9][a-z0-9._-]*' 'the name of a bucket, without gs://'
[[ " $*" == *" --config="* && " $*" == *" --workdir="* ]] ||
    fail "--config=FILE.py and --workdir=DIR are required after --"
CDPATH='' cd -- "$(dirname -- "$0")/.."

# bash 3.2, which macOS has, takes an empty list only in this way.
where=(--zone="$zone" ${project[@]+"${project[@]}"})

tpu_vm() {
    local command=(gcloud compute tpus tpu-vm "$@" "${where[@]}")
    if $dry_run; then
        printf '%q' "${command[0]}" && printf ' %q' "${command[@]:1}" && echo
    else
        "${command[@]}"
    fi
}

on_all() { tpu_vm ssh "$name" --worker=all --command="$1"; }

# ---- the slice ----
# It is listed, not described: a missing slice is not an error, but a failure of gcloud is.
list=(list --filter="name~(^|/)$name\$" '--format=value(state)')
if $dry_run; then
    tpu_vm "${list[@]}"
    state=''
else
    command -v gcloud >/dev/null || fail "gcloud is not installed"
    state=$(tpu_vm "${list[@]}") || fail "cannot list the slices of $zone" 1
fi
case $state in
    '')
        tpu_vm create "$name" --accelerator-type="$type" --version="$version" ${spot[@]+"${spot[@]}"}
        ;;
    READY) echo "using slice $name" >&2 ;;
    PREEMPTED)
        fail "slice $name was preempted; delete it: gcloud compute tpus tpu-vm delete $name ${where[*]}" 1
        ;;
    *) fail "slice $name is $state; try again when it is READY" 1 ;;
esac

# ---- no active run, which would lose its code and its coordinator ----
look='pgrep -f "^../venv/bin" >/dev/null && echo AT_WORK || true'
if $dry_run; then
    on_all "$look"
else
    found=$(on_all "$look") || fail "cannot ask all workers of slice $name whether a run is active" 1
    [[ $found != *AT_WORK* ]] ||
        fail "a run is active on slice $name; wait, or let it save and stop: gcloud compute tpus\
 tpu-vm ssh $name ${where[*]} --worker=all --command='pkill -f ^../venv/bin'"
fi

# ---- the code ----
archive=sfvae_jax.tar.gz
if ! $dry_run; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    archive=$folder/$archive
    git ls-files -z | tar --null --files-from=- -czf "$archive"
fi
tpu_vm scp "$archive" "$name:sfvae_jax.tar.gz" --worker=all
unpack='rm -rf sfvae_jax && mkdir sfvae_jax && tar -xzf sfvae_jax.tar.gz -C sfvae_jax'
# The Python of the image may be too old; uv installs one.
get_uv='python3 -m pip install -q --user uv'
make='python3 -m uv venv -q --allow-existing --python=3.12 venv'
install='python3 -m uv pip install -q --python=venv/bin/python -e ./sfvae_jax "jax[tpu]"'
on_all "$unpack && $get_uv && $make && $install"

# ---- the folder that the workers share ----
if [[ $bucket ]]; then
    folder_of="sudo mkdir -p /mnt/$bucket && sudo chown \$(id -u) /mnt/$bucket"
    # Without caches, so that the others see what one worker writes.
    mount="gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 $bucket /mnt/$bucket"
    on_all "mountpoint -q /mnt/$bucket || { $folder_of && $mount; }"
fi

# ---- the run, which does not end with the connection ----
python=(nohup ../venv/bin/python -m sfvae_jax.main --distributed "$@")
if [[ ${TFDS_DATA_DIR:-} ]]; then
    python=(env "TFDS_DATA_DIR=$TFDS_DATA_DIR" "${python[@]}")
fi
run=$(printf ' %q' "${python[@]}")
on_all "set -o pipefail; cd sfvae_jax &&$run 2>&1 | tee -p -a ../run.log"
