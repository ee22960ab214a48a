#!/usr/bin/env bash
# Our own entries, in their order: ours.sh [JOBS]. What is finished is not made again.
# pip install . ./lab experiments/tournament/variants
set -euo pipefail
cd "$(dirname "$0")/../.."
enter() { "${PYTHON:-python}" experiments/tournament/enter.py "$1" --note "$2" --jobs "${JOBS:-2}"; }
JOBS=${1:-2}

enter random-permutation "the baseline itself"
enter emp "default: pool of 2, β = 3"
enter emp:pool=gap "the pool follows the generalisation gap (candidate D)"
enter order-dp "pool of 2, the loss alone"
enter infobatch:normalize=true "weights with a mean of 1"
enter soft:by=softmax "drawn by exp(loss)"
enter emp-soft "variant: drawn by EMP's score, no pool"
enter el2n "variant: a bounded score in a pool of 2"
enter emp-gap-scale:scale=0.3 "variant: candidate D with τ = 0.3"
enter emp-gap-scale:scale=0.03 "variant: candidate D with τ = 0.03"
enter emp@guard=3 "what was wrong in 3 visits in a row comes last"
enter emp@floor=0.05 "at least 5 % of each class"
enter emp:pool=gap@proportional "candidate D within each class"
enter greedy "hard top-K of the loss"
enter emp:pool=none "the plain reading of the paper"
enter kakurenbo "exactly K"
enter seta "exactly K"
enter soft "drawn in proportion to the loss"
enter soft:by=percentile "drawn by the percentile of the loss"
enter ucb "Raju et al. 2021"
enter epsilon-greedy "Raju et al. 2021"
enter random "a new uniform part in each epoch"
enter random-permutation@equal "class-balanced sampling"
