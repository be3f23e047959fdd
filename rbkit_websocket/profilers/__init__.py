"""What looks at this process: CPU samples, collections, objects, the heap, stacks.

Everything here but the optional extension module for heap dumps is pure Python, works under plain threads and under gevent alike, and touches nothing that gevent may
have patched: what a profiler needs of the process comes in as a :class:`~.base.Host`.
"""
