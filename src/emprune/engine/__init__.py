"""How a pruner works inside: planning, observing, folding, merging across ranks, saving. Nothing here is public."""
