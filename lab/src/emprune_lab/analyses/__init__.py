"""What runs say about memory and visits: one file for each analysis, and their registry."""
