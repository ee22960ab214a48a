#!/usr/bin/env bash
# Run parts of the frontier, each comparison in the registered order, two runs at a time. Given again, it goes on.
#
#   EMPRUNE=.venv/bin/emprune nohup setsid experiments/frontier/run.sh runs/frontier fashion-mnist > frontier.log 2>&1 &
#
# OUT is relative to the repository's root. Parts: tuning-fashion-mnist, fashion-mnist, tuning-others, others, resnet18.
# EMPRUNE names the command, DATA_DIR the data folder. Runs that are committed here are taken over, and not made again.
set -eu
cd "$(dirname "$0")/../.."
here=experiments/frontier
out=${1:?"usage: run.sh OUT PART..."}
shift
methods="random-permutation emp full orderdp greedy infobatch"

go() { # NAME SEEDS
    local from=() code=0
    [ -e "$out/$1/done-$2" ] && return
    [ -e "$here/$1/results.json" ] && from=(--from "$here/$1/results.json")
    echo "$(date -u +%FT%TZ) $1, seeds $2: begins"
    nice -n 19 "${EMPRUNE:-emprune}" compare --experiment "$here/$1.toml" --seeds "$2" --jobs 2 --out "$out/$1" \
        ${DATA_DIR:+--data-dir "$DATA_DIR"} "${from[@]}" || code=$?
    echo "$(date -u +%FT%TZ) $1, seeds $2: ends with $code"
    [ "$code" -gt 128 ] && exit "$code" # asked to stop
    [ "$code" -eq 0 ] && touch "$out/$1/done-$2"
    return 0
}

judged() { # TASK SEED: its seed on every method; two seeds of full training at once, so that no core is idle
    local method seeds
    for method in $methods; do
        seeds=0-$2
        [ "$method" = full ] && [ "$2" -eq 0 ] && seeds=0-1
        go "$1-$method" "$seeds"
    done
}

for part in "$@"; do
    case $part in
        tuning-fashion-mnist) go tuning-fashion-mnist 1000-1000 ;;
        tuning-others) for task in cifar10 sst-2; do go "tuning-$task" 1000-1000; done ;;
        fashion-mnist) for seed in 0 1 2; do judged fashion-mnist "$seed"; done ;;
        others) for seed in 0 1 2; do for task in cifar10 cifar100 long-tail sst-2; do judged "$task" "$seed"; done; done ;;
        resnet18) go resnet18 0-0 ;;
        *) echo "run.sh: no part '$part'" >&2; exit 2 ;;
    esac
done
