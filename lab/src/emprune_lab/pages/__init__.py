"""How the lab draws, and the page that it draws on: a report and an analysis differ in what they say alone.

`drawing` makes figures that all look alike, `shared_figures` those that both show, `rendering` one file of them that
asks nobody for anything. A page is the caller's `templates/page.html.jinja`, which extends `base`.
"""
