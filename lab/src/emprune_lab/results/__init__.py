"""What a run leaves on the disk, and reading it back."""
