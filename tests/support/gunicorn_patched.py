"""Configuration of gunicorn whose workers of threads run under gevent's monkey patching."""

from gevent import monkey

monkey.patch_all()
