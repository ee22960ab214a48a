"""For the API reference: a docstring's `Example:` is what griffe knows as `Examples:`."""

import re

from griffe import Extension, Object


class Examples(Extension):
    """Names the section as griffe does, so that it is code on the page."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Rename the section of one docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
