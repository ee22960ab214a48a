"""Training frameworks, each in a module of its own that is imported only on demand."""
