"""emprune inside training frameworks: one module for each, imported only on demand."""
