"""What finished runs say, as one page that opens without a network.

`records` reads the runs and `sections` puts together what is comparable. `verdict` says it in sentences, `figures`,
`over_time` and `classes` draw it, `extreme_samples` shows what was visited, `provenance` says where it comes from.
`page` is all of it.
"""
