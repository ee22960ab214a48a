"""The `emprune` commands: options, what a terminal shows, and nothing that trains."""
