"""What this process and its machine give: clocks, room for descriptors and threads, what gevent may have patched."""
