#!/usr/bin/env bash
# run.sh margins | judged [JOBS]: what is finished is not made again, nor what is committed here. EMPRUNE and DATA_DIR say
# where these are, if not as usual.
set -euo pipefail
cd "$(dirname "$0")/../.."
read -ra emprune <<<"${EMPRUNE:-emprune}"
stage=$1 jobs=${2:-2} out=runs/judgement
tasks=(cifar10-human cifar100-tail simclr-digits r52 20ng imdb)
compare() { # FILE FOLDER SEEDS
    local from=() committed=${1%.toml}/results.json
    [ -e "$committed" ] && from=(--from "$committed")
    "${emprune[@]}" compare --experiment "$1" --out "$2" --seeds "$3" --jobs "$jobs" ${DATA_DIR:+--data-dir "$DATA_DIR"} "${from[@]}"
}
case $stage in
margins) # random permutation alone, on seeds that are not judged
    mkdir -p "$out"
    for task in "${tasks[@]}"; do
        sed 's/^methods = .*/methods = ["random-permutation"]/' "experiments/judgement/$task.toml" >"$out/margin-$task.toml"
        compare "$out/margin-$task.toml" "$out/margin-$task" 400-404
    done
    ;;
judged) # seed by seed, so that what is cut is cut from the end
    for last in 300 301 302; do
        for task in "${tasks[@]}"; do compare "experiments/judgement/$task.toml" "$out/judged/$task" "300-$last"; done
    done
    ;;
*) echo "run.sh margins | judged; got $stage" >&2 && exit 2 ;;
esac
