#!/usr/bin/env bash
# Measures on one GPU the hot paths, the experiment of docs/real-images.md, and as much of the published CIFAR-10 table
# as fits into ten minutes. The same command resumes where it stopped.
#
#   scripts/gpu/table.sh FOLDER
#
# FOLDER contains cifar10.npz or the input of scripts/gpu/pack.py: cifar10-jpeg.tar.xz or a folder cifar10-jpeg. Store,
# reports and table.txt are written to its subfolder DEVICE-PRECISION (toy-DEVICE-PRECISION); nothing is downloaded.
# Exit status: 0, the table is complete; 1, a row or a cell failed, the others are not affected; 3, run the same command
# again to resume; 2, something is missing.
#
#   DEVICE=cuda|cpu        default cuda
#   TOY=1                  small sizes and images of noise, to test the script on a CPU in minutes; no measurements
#   MINUTES=9.5            for everything; unfinished work is left to the next call
#   PRECISION=bf16-mixed   for the published table; the authors used 32, which takes several times as long
#   SEEDS=0                for the published table, for instance 0,1,2
#   EPOCHS=182             for the trainings of the published table; fewer for a quick test
#   ROWS="training importance stacked selection"   the rows to measure; ROWS=none: none
#   SWEEP="fast reports"   the sweeps to run, the experiment and the published table; SWEEP=none: none
#   OUT=folder             copies results and store there, every half minute and after each row and sweep; a copy in
#                          place of FOLDER/DEVICE-PRECISION can be resumed
#   WHEELS=folder          installs missing packages from these wheels into FOLDER/venv
#   PYTHON=python3         with torch and torchvision for the GPU
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
given=$(mkdir -p "${1:?FOLDER}" && cd "$1" && pwd)
python=${PYTHON:-python3}
[ "${TOY:-0}" != 0 ] || TOY=
export DEVICE=${DEVICE:-cuda} TOY
precision=${PRECISION:-$([ "$DEVICE" = cpu ] && echo 32 || echo bf16-mixed)}
folder=$given/${TOY:+toy-}$DEVICE-$precision
mkdir -p "$folder"
export PACKED=$given/cifar10.npz
[ -z "$TOY" ] || PACKED=$folder/toy.npz
export PYTHONPATH=$root:$here${PYTHONPATH:+:$PYTHONPATH}
end=$(awk "BEGIN { print int($(date +%s) + 60 * ${MINUTES:-9.5}) }")

failed=
rm -f "$folder/unfinished"

left() { echo $((end - $(date +%s))); }

# Copy new artifacts and files to OUT, each completely or not at all.
copy_out() {
    [ -n "${OUT:-}" ] || return 0
    local part=$OUT/.part-$BASHPID name
    (cd "$folder" && find . -path "./store/*/*/meta.json" -not -path "./store/building/*" -printf "%h\n") |
        while IFS= read -r name; do
            [ ! -e "$OUT/$name" ] || continue
            mkdir -p "$OUT/$(dirname "$name")"
            cp -rp "$folder/$name" "$part" && mv -T "$part" "$OUT/$name" || rm -rf "$part"
        done
    (cd "$folder" && find . -type f \( -not -path "./store/*" -o -path "./store/partial/*" -o -path "./store/pins/*" \)) |
        while IFS= read -r name; do
            [ "$folder/$name" -nt "$OUT/$name" ] || continue # also if it does not exist there
            mkdir -p "$OUT/$(dirname "$name")"
            cp -p "$folder/$name" "$part" && mv -T "$part" "$OUT/$name" || rm -f "$part"
        done
}
if [ -n "${OUT:-}" ]; then
    mkdir -p "$OUT"
    OUT=$(cd "$OUT" && pwd)
    (while sleep "${EVERY:-30}"; do copy_out; done) &
    copier=$!
    trap 'kill "$copier" 2>/dev/null; copy_out' EXIT
fi

# until_then SECONDS_TO_SPARE COMMAND: ends the command when this time is left; returns its status, or 0 if ended
until_then() {
    local spare=$1 most=$(($(left) - $1)) status=0
    shift
    if ((most < 5)); then
        echo "no time left for: $1 ${2:-} ${3:-}"
        touch "$folder/unfinished"
        return
    fi
    timeout --signal=TERM --kill-after=20 "$most" "$@" || status=$?
    if ((status == 124 || (status == 137 && $(left) <= spare))); then # 137 before that: killed for lack of memory
        echo "time is over: run the same command again to resume"
        touch "$folder/unfinished"
        return
    fi
    return "$status"
}

if [ -n "${WHEELS:-}" ]; then
    [ -d "$given/venv" ] || "$python" -m venv --system-site-packages "$given/venv"
    python=$given/venv/bin/python
fi
missing=$("$python" "$here/needs.py" | tr '\n' ' ')
if [ -n "$missing" ] && [ -n "${WHEELS:-}" ]; then
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --no-index --no-deps --find-links "$WHEELS" $missing
    missing=$("$python" "$here/needs.py" | tr '\n' ' ')
fi
if [ -n "$missing" ]; then
    echo "missing: $missing" >&2
    echo "where there is an internet: pip wheel --no-deps -w wheels $missing; here: WHEELS=wheels $0 $*" >&2
    exit 2
fi
"$python" - <<'CHECK'
import os, sys, torch
if os.environ["DEVICE"] != "cpu" and not torch.cuda.is_available():
    sys.exit("DEVICE: expected a CUDA device, got none; DEVICE=cpu TOY=1 tries it on a CPU")
CHECK

if [ -n "$TOY" ]; then
    "$python" "$here/day_torch.py" toy "$folder"
elif [ ! -f "$PACKED" ]; then
    for source in "$given"/cifar10-jpeg.tar.xz "$given"/cifar10-jpeg; do
        [ ! -e "$source" ] || [ -f "$PACKED" ] || "$python" "$here/pack.py" "$source" "$PACKED"
    done
    [ -f "$PACKED" ] || { echo "$given: expected cifar10.npz, cifar10-jpeg.tar.xz or cifar10-jpeg" >&2; exit 2; }
fi

mkdir -p "$folder/rows"
chosen=${ROWS:-training importance stacked selection}
for name in ${chosen//,/ }; do
    [ "$name" != none ] || break
    if grep -qs "all rows" "$folder/rows/$name.txt"; then continue; fi # already measured
    spare=$([ -n "$TOY" ] && echo 20 || echo 240)
    # Each row runs in its own process: after an error on a GPU, a process cannot use it any more.
    until_then "$spare" "$python" "$here/rows.py" "$PACKED" "$name" 2>"$folder/rows/$name.log" |
        tee "$folder/rows/$name.txt" || { tail -5 "$folder/rows/$name.log"; failed=1; }
    copy_out
done

packed=(
    dataset=python dataset.factory=packed:cifar10
    "dataset.mean=[0.4914,0.4822,0.4465]" "dataset.std=[0.2470,0.2435,0.2616]"
    "paths.store=$folder/store" report.html=false logger=none
    "trainer=$([ "$DEVICE" = cpu ] && echo cpu || echo gpu)" "trainer.precision=$precision"
)

# sweep NAME SECONDS_TO_SPARE OVERRIDES: writes reports to $folder/NAME and its output to $folder/NAME.log
sweep() {
    local name=$1 spare=$2
    shift 2
    [[ " ${SWEEP:-fast reports} " == *[\ ,]"$name"[\ ,]* ]] || return 0
    until_then "$spare" "$python" -m unlearn "$@" "${packed[@]}" "paths.output=$folder/$name" >"$folder/$name.log" 2>&1 ||
        failed=1
    tail -3 "$folder/$name.log"
    copy_out
}

# The experiment of docs/real-images.md, then the published table.
sweep fast 60 +experiment=cifar10_fast +sweep=targets seed=1,2,3 ${TOY:+"model.widths=[8,8,8]" train.epochs=1}
sweep reports 10 +experiment=cifar10_table +sweep=published "seed=${SEEDS:-0}" \
    dataset.crop_padding=4 dataset.flip=true ${EPOCHS:+"train.epochs=$EPOCHS"} \
    ${TOY:+model=cnn model.width=4 model.hidden=8 train.epochs=1}

{
    cat "$folder"/rows/*.txt 2>/dev/null || true
    echo
    cat "$folder/fast/sweep.md" 2>/dev/null || true
    echo
    "$python" "$here/published.py" "$folder/reports"
} | tee "$folder/table.txt"
[ -z "$failed" ] || exit 1
[ ! -e "$folder/unfinished" ] || exit 3
