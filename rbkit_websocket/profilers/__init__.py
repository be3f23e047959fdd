"""Profilers of this process: CPU samples, collections, objects, the heap, stacks.

Everything here is Python but for the two optional extension modules that sample the CPU and walk the heap, works under
plain threads and under gevent alike, and touches nothing that gevent may have patched: a profiler reaches the process
through a :class:`~.base.Host`.
"""
