"""Harbor Training: a small training platform that embeds Flask-LMS.

Read ``lms_adapter.py`` first: it is the whole host side.
"""

from .app import create_app

__all__ = ["create_app"]
