"""Side-by-side timings against peers: python -m benchmarks NAME [--quick], or --all.

Both sides run in turn in one process, on one thread, and answer the same question; the largest difference between
their answers is printed beside the times.
"""
