"""One module a row of the table. Each has `measure(quick)`: the figures, or BenchError."""
