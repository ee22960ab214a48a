"""Text classification tasks, one file each."""
