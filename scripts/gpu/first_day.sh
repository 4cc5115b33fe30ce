#!/usr/bin/env bash
# The first ten minutes on a GPU: checks results and speed. Each step has its own time limit and cannot stop the others.
#
#   scripts/gpu/first_day.sh FOLDER
#
# For the last two steps, FOLDER contains cifar10.npz or the input of scripts/gpu/pack.py; without, they are left out.
# Nothing is downloaded. Each step writes FOLDER/first-day-DEVICE/NAME.txt and a line into summary.txt. Exit status: 0,
# no step failed; 1, a step failed or did not finish; 2, the device is missing.
#
#   DEVICE=cuda|cpu   default cuda; a CPU only with TOY=1
#   TOY=1             small sizes and images of noise, to test the script on a CPU in some minutes; no measurements
#   MINUTES=10        for all steps; steps that have not begun by then are left out
#   STEPS="a b"       only these steps
#   PYTHON=python3    with torch for the GPU and the packages of scripts/gpu/needs.py
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

# step NAME SECONDS COMMAND: writes its output to NAME.txt and its result to summary.txt; always succeeds. The command
# gets MINUTES, a little less than its time.
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
    MINUTES=$(awk "BEGIN { print ($most - 6) / 60 }") timeout --signal=TERM --kill-after=10 "$most" "$@" 2>&1 | tee "$folder/$name.txt"
    status=${PIPESTATUS[0]}
    case $status in
    0) summary "$name: well, $((SECONDS - start)) s" ;;
    124 | 137) summary "$name: not done after its $most s" && failed=1 ;;
    *) summary "$name: failed with status $status after $((SECONDS - start)) s" && failed=1 ;;
    esac
}

torch_step() { step "$1" "$2" "$python" "$here/day_torch.py" "$1" "$folder"; }
run_step() { step "$1" "$2" "$python" "$here/day_runs.py" "$1" "$folder"; }

torch_step versions 20  # hardware and packages
run_step strategies 120 # all of them on digits, compared with the CPU
torch_step resume 40    # the same bits twice, also after an interruption
torch_step precisions 30
run_step refusals 40 # a net that is not deterministic; too little memory
run_step timing 45   # seconds of unlearning with a cached original
torch_step profile 60
torch_step room 40
torch_step stacked 40
run_step two_processes 40 # on one card

if [ -n "$TOY" ]; then
    "$python" "$here/day_torch.py" toy "$folder"
else
    for source in "$given"/cifar10-jpeg.tar.xz "$given"/cifar10-jpeg; do
        [ ! -e "$source" ] || [ -f "$PACKED" ] || "$python" "$here/pack.py" "$source" "$PACKED"
    done
fi
if [ -f "$PACKED" ]; then
    run_step cifar_94 75
    step table 90 env EPOCHS="${EPOCHS:-2}" ROWS=none SWEEP=reports PYTHON="$python" "$here/table.sh" "$given"
else
    summary "cifar_94, table: left out; they need cifar10.npz, cifar10-jpeg.tar.xz or cifar10-jpeg in $given"
fi
exit $failed
