"""What the pipeline costs, as ratios to something bare, both sides in one run: `python -m tests.bench`."""
