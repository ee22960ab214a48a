"""Runs on texts: a pretrained language model, fine-tuned by the Hugging Face Trainer on the plan."""
