"""What finished runs say, as one page that opens without a network.

`records` reads the runs, `sections` puts together what is comparable, `reading` says it in sentences, `figures` and
`classes` draw it with `emprune_lab.pages`, `samples` shows what was visited, `provenance` says where it comes from,
`page` makes one file of it.
"""
