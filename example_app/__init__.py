"""Harbor Training: a small training platform that embeds Flask-LMS.

Read it in this order: ``app`` (the factory), ``models``, ``accounts`` (who is here), ``training``
(playing objectives, and the signal that is sent at the end), then ``lms_adapter``: the whole host
side of Flask-LMS. What makes a demo of it is in the folder ``demo``.
"""

from .app import create_app

__all__ = ["create_app"]
