"""Speed and memory, measured: interleaved pairs, medians, and tables that are kept in docs/benchmarks."""
