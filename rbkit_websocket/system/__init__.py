"""Services of the process and its machine: clocks, room for descriptors and threads, originals of patched functions."""
