"""What looks at this process: CPU samples, collections, objects, the heap, stacks.

Everything here is Python but for the two optional extension modules that sample the CPU and walk the heap, works under
plain threads and under gevent alike, and touches nothing that gevent may have patched: what a profiler needs of the
process comes in as a :class:`~.base.Host`.
"""
