"""Where data sets come from, and how they are cut, decoded and distorted."""
