#!/usr/bin/env bash
# The first ten minutes on a GPU: is it right, and is it as fast as was hoped. Each step has a limit of its own, and
# none stops the rest.
#
#   scripts/gpu/first_day.sh FOLDER
#
# FOLDER holds cifar10.npz, or what scripts/gpu/pack.py makes it of, for the last two steps; nothing is downloaded.
# Results are written as they come: FOLDER/first-day-DEVICE/NAME.txt of each step, and summary.txt. Exit status: 0, all
# steps are well; 1, one was not; 2, there is no such device.
#
#   DEVICE=cuda|cpu   default cuda; a CPU only with TOY=1
#   TOY=1             sizes that show on a CPU, in some minutes, that all of it works; no figures
#   MINUTES=10        for all of it: what has not begun then is left out
#   STEPS="a b"       these alone, of those below
#   PYTHON=python3    with torch for the GPU, and what scripts/gpu/needs.py lists
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
given=$(mkdir -p "${1:?FOLDER}" && cd "$1" && pwd)
python=${PYTHON:-python3}
[ "${TOY:-0}" != 0 ] || TOY=
export DEVICE=${DEVICE:-cuda} TOY
folder=$given/first-day-$DEVICE
mkdir -p "$folder"
export PYTHONPATH=$root:$here${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export PACKED=$given/cifar10.npz
[ -z "$TOY" ] || PACKED=$folder/toy.npz
end=$(awk "BEGIN { print int($(date +%s) + 60 * ${MINUTES:-10}) }")
failed=0
: >"$folder/summary.txt"

"$python" - <<'CHECK' || exit 2
import os, sys, torch
cpu = os.environ["DEVICE"] == "cpu"
if not cpu and not torch.cuda.is_available():
    sys.exit("DEVICE: expected a CUDA device, got none; DEVICE=cpu TOY=1 tries it on a CPU")
if cpu and not os.environ["TOY"]:
    sys.exit("TOY: expected 1 with DEVICE=cpu, got nothing")
CHECK

summary() { echo "$*" | tee -a "$folder/summary.txt"; }

# step NAME SECONDS COMMAND: what it prints in NAME.txt, how it ended in summary.txt; always succeeds
step() {
    local name=$1 most=$2 left status start=$SECONDS
    shift 2
    [[ " ${STEPS:-$name} " == *" $name "* ]] || return 0
    [ -z "$TOY" ] || most=$((10 * most)) # a CPU is slow
    left=$((end - $(date +%s)))
    ((most < left)) || most=$left
    if ((most < 5)); then
        summary "$name: no time left"
        failed=1
        return 0
    fi
    timeout --signal=TERM --kill-after=10 "$most" "$@" 2>&1 | tee "$folder/$name.txt"
    status=${PIPESTATUS[0]}
    case $status in
    0) summary "$name: well, $((SECONDS - start)) s" ;;
    124 | 137) summary "$name: not done after its $most s" && failed=1 ;;
    *) summary "$name: failed with status $status after $((SECONDS - start)) s" && failed=1 ;;
    esac
}

torch_step() { step "$1" "$2" "$python" "$here/day_torch.py" "$1" "$folder"; }
run_step() { step "$1" "$2" "$python" "$here/day_runs.py" "$1" "$folder"; }

torch_step versions 20  # of what
run_step strategies 120 # all of them on digits, beside the CPU's numbers
torch_step resume 40    # the same bits twice, and after an interruption
torch_step precisions 30
run_step refusals 40 # a net that does not repeat; too little memory
run_step timing 45   # unlearning's seconds with the original in the store
torch_step profile 60
torch_step room 40
torch_step stacked 40
run_step two_processes 40 # on one card

if [ ! -f "$PACKED" ]; then
    for source in "$given"/cifar10-jpeg.tar.xz "$given"/cifar10-jpeg; do
        [ ! -e "$source" ] || [ -n "$TOY" ] || [ -f "$PACKED" ] || "$python" "$here/pack.py" "$source" "$PACKED"
    done
    [ -z "$TOY" ] || "$python" "$here/day_torch.py" toy "$folder"
fi
if [ -f "$PACKED" ]; then
    run_step cifar_94 75
    step table 90 env EPOCHS="${EPOCHS:-2}" ROWS=none SWEEP=reports MINUTES=1.4 PYTHON="$python" "$here/table.sh" "$given"
else
    summary "cifar_94, table: left out, $given has no cifar10.npz"
    failed=1
fi
exit $failed
