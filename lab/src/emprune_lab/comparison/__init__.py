"""Many runs compared: what is run, by whom, and what the results say side by side."""
