"""A page: one HTML file that holds everything it shows, plotly.js too, and asks nobody for anything."""

from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

import emprune
from emprune_lab.pages.drawing import Styles

__all__ = ["render_page"]


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
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("emprune_lab.pages")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **values,
        styles=styles,
        version=emprune.__version__,
        plotly_js=get_plotlyjs().replace("</script", "<\\/script") if has_figures else "",
    )
