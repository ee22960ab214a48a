"""Training one run: images by our own loop, texts by the Hugging Face Trainer."""
