"""A page: one HTML file that holds everything it shows, plotly.js too, and asks nobody for anything."""

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

import emprune
from emprune_lab.pages.drawing import Styles

__all__ = ["plotly_js", "render_page"]


@cache
def plotly_js() -> str:
    """Return plotly.js as a page holds it: the basic bundle, a quarter of the one that plotly for Python brings.

    It draws scatter traces, bars and pies; `plotlyjs/` has it, as npm's plotly.js-basic-dist-min brings it.
    """
    code = files("emprune_lab.pages").joinpath("plotlyjs", "plotly-basic.min.js").read_text(encoding="utf-8")
    return code.replace("</script", "<\\/script")


def render_page(
    package: str, *, styles: Styles, template: str = "page.html.jinja", has_figures: bool = True, **values: Any
) -> str:
    """Return the page of a package, as HTML.

    Args:
        package: The importable name of the package. Its template extends `base.html.jinja`, and may import from
            `parts.html.jinja`, which are here.
        styles: How each method is drawn.
        template: The name of the template in the package's `templates`.
        has_figures: Whether the page needs plotly.js.
        **values: What else the template takes.
    """
    return (
        _environment(package)
        .get_template(template)
        .render(
            **values,
            styles=styles,
            version=emprune.__version__,
            plotly_js=plotly_js() if has_figures else "",
        )
    )


@cache
def _environment(package: str) -> jinja2.Environment:
    """Return what reads a package's templates, and keeps them compiled."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("emprune_lab.pages")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
