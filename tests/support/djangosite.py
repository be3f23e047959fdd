"""What ``manage.py`` of a Django project is: ``python -m support.djangosite runserver 0``."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management import execute_from_command_line

from support import apps

application = apps.django()

if __name__ == "__main__":
    # Django imports the name, and must not make a second application of it.
    sys.modules["support.djangosite"] = sys.modules["__main__"]
    settings.WSGI_APPLICATION = "support.djangosite.application"
    execute_from_command_line(sys.argv)
