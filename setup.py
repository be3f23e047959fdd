"""Everything declarative is in setup.cfg; here are the extension modules.

They are optional: without a compiler the package installs nevertheless and does in Python what it can. With
``RBKIT_NATIVE=0`` in the environment they are not even tried.
"""

import os

from setuptools import Extension, setup

extensions = [
    Extension("rbkit_websocket.profilers._heap", ["rbkit_websocket/profilers/_heap.c"], optional=True),
]

setup(ext_modules=[] if os.environ.get("RBKIT_NATIVE") == "0" else extensions)
