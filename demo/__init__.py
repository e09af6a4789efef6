"""Tooling, not an example: what makes a demo of ``example_app``, and pictures of it for the docs.

Nothing here belongs into a host. The demo puts a web server, a worker, an LMS (``lms``), a mail
server (``mailbox``) and a Valkey (``valkey``, which the tests use too) together (``demo``), adds
pages to look into them (``app``), and invents people (``seed``) and what they did (``history``). It
goes through Flask-LMS's public API, but for ``inside``.
"""
