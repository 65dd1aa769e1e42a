"""Result topics and views as Parquet, by day: what a lake or a notebook reads without asking the pipeline."""
