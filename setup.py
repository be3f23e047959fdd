"""Everything declarative is in setup.cfg; this file is the hook for tools that call it."""

from setuptools import setup

setup()
