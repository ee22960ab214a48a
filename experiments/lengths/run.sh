#!/usr/bin/env bash
# Run the three comparisons, one run at a time, and keep their results here. Given again, it goes on.
#
#   EMPRUNE=.venv/bin/emprune nohup setsid experiments/lengths/run.sh runs/lengths > lengths.log 2>&1 &
#
# OUT is relative to the repository's root. EMPRUNE names the command, DATA_DIR the data folder.
set -eu
cd "$(dirname "$0")/../.."
here=experiments/lengths
out=${1:?"usage: run.sh OUT"}
for name in clinc150 sst-2 20ng; do
    nice -n 10 ${EMPRUNE:-emprune} compare --experiment "$here/$name.toml" --jobs 1 --out "$out/$name" \
        ${DATA_DIR:+--data-dir "$DATA_DIR"}
    mkdir -p "$here/$name"
    cp "$out/$name/results.json" "$here/$name/"
done
